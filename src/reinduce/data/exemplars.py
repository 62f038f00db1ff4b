"""The `exemplars` task's files: the vectors of all exemplars, and frozen sets of sequences."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reinduce.config.specs import require, stream_seed
from reinduce.data.frozen import set_seed, write_examples
from reinduce.model.tensors import save_tensors
from reinduce.task import Task
from reinduce.task.exemplars import FEATURES, SETS, ExemplarsSpec, label_pairs, sequences

HIDDEN = 512
"""Width of the hidden layer of the network that makes vectors out of latent ones."""


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write the frozen sets and features.safetensors; further facts: which pairs of labels are held out."""
    spec = task.spec
    vectors_CEF = from_latent(spec) if spec.source == "latent" else from_file(spec)
    files = [
        write_examples(
            folder / f"{kind}.parquet", sequences(spec, kind, task.evaluation.sequences, set_seed(task, kind))
        )
        for kind in SETS
    ]
    files.append(save_tensors(folder / FEATURES, {"features": vectors_CEF.flatten(0, 1)}, {"source": spec.source}))
    return files, {"held_out_labels": label_pairs(spec)[1].tolist()}


def from_latent(spec: ExemplarsSpec) -> Tensor:
    """Vectors [classes, exemplars, features] that a fixed random network makes of low-dimensional ones.

    Two layers of rectified units, as deep features are: not negative, and on average of
    square one. Exemplars of a class share most of their latent vector.
    """
    generator = torch.Generator().manual_seed(stream_seed("exemplars", "features", spec.latent, spec.features))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    first_HL = normal(HIDDEN, spec.latent) / math.sqrt(spec.latent)
    second_FH = normal(spec.features, HIDDEN) * math.sqrt(2 / HIDDEN)
    classes = spec.classes + spec.new_classes
    of_class, own = normal(classes, 1, spec.latent), normal(classes, spec.exemplars, spec.latent)
    latent_CEL = (of_class + spec.spread * own) / math.sqrt(1 + spec.spread**2)
    vectors_CEF = ((latent_CEL @ first_HL.T).relu() @ second_FH.T).relu()
    return vectors_CEF / vectors_CEF.square().mean().sqrt()


def from_file(spec: ExemplarsSpec) -> Tensor:
    """Vectors [classes, exemplars, features] of a Parquet file with a row an exemplar: class, exemplar, features.

    Raises FileNotFoundError or ValueError that says what was found and what was expected.
    """
    path = Path(spec.path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; set path to a Parquet file of features")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from None
    missing = [name for name in ("class", "exemplar", "features") if name not in table.column_names]
    require(
        not missing,
        f"{path}: no column {', '.join(missing)}; there are: {', '.join(table.column_names)}; expected a row for "
        "every exemplar with columns class, exemplar and features",
    )
    rows = sorted(
        table.select(["class", "exemplar", "features"]).to_pylist(), key=lambda r: (r["class"], r["exemplar"])
    )
    by_class: dict = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(row["features"])
    wanted = spec.classes + spec.new_classes
    require(
        len(by_class) >= wanted,
        f"{path}: {len(by_class)} classes found, {wanted} expected ({spec.classes} for training and "
        f"{spec.new_classes} new ones); lower classes or new_classes, or give more",
    )
    chosen = dict(list(by_class.items())[:wanted])
    for name, vectors in chosen.items():
        require(
            len(vectors) >= spec.exemplars,
            f"{path}: class {name!r} has {len(vectors)} exemplars, {spec.exemplars} expected",
        )
        for vector in vectors:
            width = 0 if vector is None else len(vector)
            require(
                width == spec.features,
                f"{path}: class {name!r}: a vector of width {width} found, {spec.features} expected; set features",
            )
    made = torch.tensor([vectors[: spec.exemplars] for vectors in chosen.values()], dtype=torch.float32)
    bad = ~made.isfinite().all(dim=2)
    if bad.any():
        c, e = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{path}: {int(bad.sum())} vectors are not finite, the first is exemplar {e} of class {list(chosen)[c]!r}; "
            "expected finite numbers"
        )
    return made
