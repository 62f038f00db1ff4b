"""Vectors of the `fewshot_classification` task: drawn from a fixed random network, or read from a user's file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reinduce.config.job_specs import require, stream_seed

if TYPE_CHECKING:
    from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec

HIDDEN = 512
"""Width of the hidden layer of the network that makes vectors out of latent ones."""


def draw_vectors(spec: FewshotSpec) -> Tensor:
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


def read_vectors(spec: FewshotSpec) -> Tensor:
    """Vectors [classes, exemplars, features] of a user's file, the first classes and exemplars in it.

    HDF5 (.h5, .hdf5) with one dataset of that shape, or Parquet with a row an exemplar: class,
    exemplar, features. Raises FileNotFoundError or ValueError that says what was found and
    what was expected.
    """
    path = Path(spec.path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; set path to an HDF5 or Parquet file of features")
    names, vectors = (_read_hdf5 if path.suffix in (".h5", ".hdf5") else _read_parquet)(path, spec)
    bad = ~vectors.isfinite().all(dim=2)
    if bad.any():
        c, e = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{path}: {int(bad.sum())} vectors are not finite, the first is exemplar {e} of class {names[c]!r}; "
            "expected finite numbers"
        )
    return vectors


def _enough_classes(path: Path, found: int, spec: FewshotSpec) -> None:
    wanted = spec.classes + spec.new_classes
    require(
        found >= wanted,
        f"{path}: {found} classes found, {wanted} expected ({spec.classes} for training and "
        f"{spec.new_classes} new ones); lower classes or new_classes, or give more",
    )


def _read_hdf5(path: Path, spec: FewshotSpec) -> tuple[list, Tensor]:
    """Numbers of classes, and the vectors, of an HDF5 file's only dataset [classes, exemplars, features]."""
    # Needed for such files alone: everything else runs where there is no h5py.
    import h5py

    found: dict[str, h5py.Dataset] = {}
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file ({error})") from None
    with file:
        file.visititems(lambda name, entry: found.update({name: entry} if isinstance(entry, h5py.Dataset) else {}))
        require(
            len(found) == 1,
            f"{path}: {len(found)} datasets found ({', '.join(found)}), expected one [classes, exemplars, features]",
        )
        [(name, data)] = found.items()
        wanted = f"expected [classes, {spec.exemplars} or more exemplars, {spec.features} features]"
        require(data.ndim == 3, f"{path}: dataset {name!r} has shape {data.shape}; {wanted}")
        _enough_classes(path, data.shape[0], spec)
        fits = data.shape[1] >= spec.exemplars and data.shape[2] == spec.features
        require(fits, f"{path}: dataset {name!r} has shape {data.shape}; {wanted}; set features or exemplars")
        require(data.dtype.kind in "fiu", f"{path}: dataset {name!r} holds {data.dtype}, expected numbers")
        # No more than is wanted is read.
        chosen = data[: spec.classes + spec.new_classes, : spec.exemplars]
    return list(range(len(chosen))), torch.from_numpy(chosen.astype("float32"))


def _read_parquet(path: Path, spec: FewshotSpec) -> tuple[list, Tensor]:
    """Names of classes, and the vectors, of a Parquet file with a row an exemplar."""
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
    _enough_classes(path, len(by_class), spec)
    chosen = dict(list(by_class.items())[: spec.classes + spec.new_classes])
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
    return list(chosen), made
