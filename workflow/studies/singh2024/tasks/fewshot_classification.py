"""The `fewshot_classification` task: two labelled exemplars and a query of one of their classes (Singh et al. 2024).

A sequence is x1 l1 x2 l2 xq, and the model predicts the query's label. Exemplars are vectors of
features, frozen before training; labels are tokens, given to classes anew in every sequence, so that
the answer stands in the context and nowhere else. Classes and pairs of labels are held out: a model
that memorises sequences fails on both.

Token ids: labels come first, then exemplars, class by class. A sequence holds six tokens, the answer
last; the model reads five.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import STRICT, require, stream_seed
from reinduce.config.task_definition import TaskDefinition
from reinduce.tasks.evaluation_sets import write_set

if TYPE_CHECKING:
    from torch import Tensor

QUERY = 4
"""Position of the query."""
LABELS = (1, 3)
"""Positions of the labels."""
VECTORS_FILE = "features.safetensors"
"""The file of all exemplars' vectors in the data folder."""
SETS = ("in_distribution", "relabelled", "novel_classes")
"""Evaluation sets: sequences like those of training; with held-out pairs of labels; with held-out classes."""
VECTOR_SOURCES = ("latent", "file")


@dataclass(frozen=True, kw_only=True)
class FewshotSpec:
    """`fewshot_classification`: the distribution of sequences."""

    __pydantic_config__ = STRICT

    vocab_size: int = 5
    """Labels."""
    n_ctx: int = 5
    """Tokens that a model reads: two pairs and the query."""
    classes: int = 50
    """Classes that training sequences show."""
    new_classes: int = 100
    """Classes that no training sequence shows."""
    exemplars: int = 1
    """Exemplars of each class."""
    held_out_labels: float = 0.2
    """Share of the pairs of labels that no training sequence shows."""
    features: int = 512
    """Width of an exemplar's vector."""
    source: str = "latent"
    """latent (a fixed random network of a low-dimensional vector), file (the user's own features)."""
    latent: int = 32
    """Dimensions of the latent vector."""
    spread: float = 0.3
    """latent: how far a class's exemplars lie from each other, over how far classes do."""
    path: str = ""
    """file: HDF5 or Parquet with a vector for every class and exemplar."""

    def __post_init__(self) -> None:
        require(self.n_ctx == 5, f"n_ctx must be 5, two pairs and a query, not {self.n_ctx}")
        require(self.vocab_size > 2, f"vocab_size must be 3 labels or more, not {self.vocab_size}")
        for name in ("classes", "new_classes"):
            require(getattr(self, name) > 1, f"{name} must be 2 or more, not {getattr(self, name)}")
        for name in ("exemplars", "features", "latent"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(self.spread >= 0, f"spread must be 0 or more, not {self.spread}")
        require(0 < self.held_out_labels < 1, f"held_out_labels must lie between 0 and 1, not {self.held_out_labels}")
        require(
            self.source in VECTOR_SOURCES,
            f"source must be one of {', '.join(VECTOR_SOURCES)}, not {self.source!r}",
        )
        require((self.source == "file") == bool(self.path), "path belongs to source: file, and to no other")
        # So many labels lose all of their pairs on average. Up to a half, some of the hundred splits that are
        # tried spares every label, sure enough; beyond, it is worth importing torch to try them here already.
        others = self.vocab_size - 1
        lost = self.vocab_size * math.comb(self.held_out_pairs, others) / math.comb(self.pairs, others)
        if lost > 0.5:
            label_pairs(self)

    @property
    def pairs(self) -> int:
        """Unordered pairs of labels."""
        return math.comb(self.vocab_size, 2)

    @property
    def held_out_pairs(self) -> int:
        """Those of them that no training sequence shows."""
        return max(1, round(self.held_out_labels * self.pairs))


@dataclass(frozen=True, kw_only=True)
class FewshotSizes:
    """How large the frozen evaluation sets of `fewshot_classification` are."""

    __pydantic_config__ = STRICT

    sequences: int
    """Sequences like those of training, on which curves and heads are measured."""
    held_out: int
    """Sequences with held-out pairs of labels, and as many with held-out classes."""

    def __post_init__(self) -> None:
        for name in ("sequences", "held_out"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")


def label_pairs(spec: FewshotSpec) -> tuple[Tensor, Tensor]:
    """Unordered pairs of labels that training shows, and that it never shows [pairs, 2] each.

    Every label is in a pair that is shown. Raises ValueError if no such split was found.
    """
    pairs = torch.tensor(list(itertools.combinations(range(spec.vocab_size), 2)))
    held_out = spec.held_out_pairs
    for attempt in range(100):
        generator = torch.Generator().manual_seed(stream_seed("exemplars", "labels", spec.vocab_size, attempt))
        order = torch.randperm(len(pairs), generator=generator)
        shown = pairs[order[held_out:]]
        if shown.unique().numel() == spec.vocab_size:
            return shown, pairs[order[:held_out]]
    raise ValueError(
        f"held_out_labels: holding out {held_out} of {len(pairs)} pairs leaves a label that training never shows; "
        "lower it"
    )


def sequences(spec: FewshotSpec, kind: str, n: int, seed: int) -> Tensor:
    """`n` sequences [n, 6] of a kind in SETS, int64: x1 l1 x2 l2 xq and the query's label."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    shown, held_out = label_pairs(spec)
    pairs = held_out if kind == "relabelled" else shown
    classes, first = (spec.new_classes, spec.classes) if kind == "novel_classes" else (spec.classes, 0)
    one = integers(classes, n)
    other = (one + 1 + integers(classes - 1, n)) % classes
    pair_N2 = first + torch.stack((one, other), dim=1)
    labels_N2 = pairs[integers(len(pairs), n)]
    labels_N2 = torch.where(integers(2, n, 1) == 1, labels_N2.flip(1), labels_N2)
    asked_N1 = integers(2, n, 1)
    class_N3 = torch.cat((pair_N2, pair_N2.gather(1, asked_N1)), dim=1)
    shown_N3 = spec.vocab_size + class_N3 * spec.exemplars + integers(spec.exemplars, n, 3)
    answer_N1 = labels_N2.gather(1, asked_N1)
    x1, x2, xq = shown_N3.split(1, dim=1)
    return torch.cat((x1, labels_N2[:, :1], x2, labels_N2[:, 1:], xq, answer_N1), dim=1)


def every_sequence(spec: FewshotSpec) -> Tensor:
    """All training sequences that show each class's first exemplar, once each [n, 6]."""
    shown, _ = label_pairs(spec)
    both_orders = torch.cat((shown, shown.flip(1)))
    classes = torch.cartesian_prod(torch.arange(spec.classes), torch.arange(spec.classes))
    classes = classes[classes[:, 0] != classes[:, 1]]
    which, pair, asked = torch.cartesian_prod(
        torch.arange(len(classes)), torch.arange(len(both_orders)), torch.arange(2)
    ).unbind(dim=1)
    exemplar, label = spec.vocab_size + classes[which] * spec.exemplars, both_orders[pair]
    query, answer = exemplar.gather(1, asked[:, None]), label.gather(1, asked[:, None])
    return torch.cat((exemplar[:, :1], label[:, :1], exemplar[:, 1:], label[:, 1:], query, answer), dim=1)


def right_label(tokens_BT: Tensor, vocab_size: int, exemplars: int) -> Tensor:
    """Position of the label that belongs to the query [B], from the first five tokens of sequences."""
    class_of = (tokens_BT - vocab_size) // exemplars
    return torch.where(class_of[:, 0] == class_of[:, QUERY], LABELS[0], LABELS[1])


class FewshotStream:
    """A replicate's training sequences."""

    STEPS = 64
    """Steps whose sequences are drawn together: drawing is as slow for one step as for many."""

    def __init__(self, spec: FewshotSpec, vectors_NF: Tensor, seed: int):
        self.spec = spec
        self.first = stream_seed("data", "exemplars", seed)
        self.vectors = vectors_NF[: spec.classes * spec.exemplars]
        self.drawn: tuple[int, int, Tensor] | None = None

    def batch(self, step: int, n: int) -> Tensor:
        """Return the sequences [n, 6] (int64) of a step."""
        part, within = divmod(step, self.STEPS)
        if self.drawn is None or self.drawn[:2] != (part, n):
            self.drawn = part, n, sequences(self.spec, "in_distribution", self.STEPS * n, self.first + part)
        return self.drawn[2][within * n : (within + 1) * n]


@task("fewshot_classification")
class FewshotClassification(TaskDefinition):
    """Vectors of all exemplars, and three sets of sequences."""

    Spec = FewshotSpec
    Sizes = FewshotSizes
    stream_name = "exemplars"
    evaluation_sets = SETS
    data_files = training_files = (VECTORS_FILE,)

    def model_fields(self) -> dict[str, Any]:
        """Return what the task decides of a model, the width of exemplars' vectors among it."""
        return super().model_fields() | {"d_features": self.spec.features, "vectors_per_class": self.spec.exemplars}

    def set_sizes(self) -> dict[str, int]:
        """Return how many examples each set holds."""
        return {"in_distribution": self.sizes.sequences} | dict.fromkeys(SETS[1:], self.sizes.held_out)

    def user_files(self) -> list[Path]:
        """Return the user's own vectors, if the task is made of them."""
        return [Path(self.spec.path)] if self.spec.path else []

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write vectors and sets; returns which pairs of labels are held out.

        Raises:
            FileNotFoundError or ValueError: if the user's own vectors cannot be used.
        """
        # These need torch's and the file formats' libraries, which the configuration does without.
        from reinduce.model.tensors import save_tensors
        from reinduce.studies.singh2024.vectors import draw_vectors, read_vectors

        spec = self.spec
        vectors_CEF = draw_vectors(spec) if spec.source == "latent" else read_vectors(spec)
        for name, n in self.set_sizes().items():
            write_set(folder, name, sequences(spec, name, n, self.set_seed(SET_STREAMS[name])))
        save_tensors(folder / VECTORS_FILE, {"features": vectors_CEF.flatten(0, 1)}, {"source": spec.source})
        return {"held_out_labels": label_pairs(spec)[1].tolist()}

    def training_stream(self, folder: Path, seed: int) -> FewshotStream:
        """Return the sequences of a replicate; raises as `read_vectors` does."""
        return FewshotStream(self.spec, self.read_vectors(folder), seed)

    def read_vectors(self, folder: Path) -> Tensor:
        """Return the vectors of all exemplars [N F], in the order of their token ids.

        Raises:
            FileNotFoundError or ValueError: naming the file of vectors, if it is missing or damaged.
        """
        # The file format needs torch, which the configuration does without.
        from reinduce.model.tensors import load_tensors

        return load_tensors(folder / VECTORS_FILE)[0]["features"]


SET_STREAMS = {"in_distribution": "trained", "relabelled": "relabelled", "novel_classes": "new_classes"}
"""Evaluation set → the word that names its random stream, which never changes."""
