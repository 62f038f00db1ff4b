"""The `exemplars` task: two labelled examples and a query of one of their classes (Singh et al. 2024).

A sequence is x1 l1 x2 l2 xq, and what is asked is the query's label. Exemplars are vectors
of features, frozen before training; labels are tokens, given to classes anew in every
sequence, so that the answer stands in the context and nowhere else. Classes and pairs of
labels are held out: whoever memorises sequences fails on both.

Token ids: labels come first, then exemplars, class by class. A sequence holds six tokens,
the answer last; the model reads five.
"""

import itertools
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reinduce.config.specs import stream_seed
from reinduce.model.tensors import load_tensors
from reinduce.task.specs import ExemplarsSpec

QUERY = 4
"""Position of the query."""
LABELS = (1, 3)
"""Positions of the labels."""
FEATURES = "features.safetensors"
"""The file of all exemplars' vectors in the data folder."""
SETS = ("trained", "relabelled", "new_classes")
"""Frozen sets: sequences like those of training; with held-out pairs of labels; with held-out classes."""

Spec = ExemplarsSpec


def label_pairs(spec: ExemplarsSpec) -> tuple[Tensor, Tensor]:
    """Unordered pairs of labels that training shows, and that it never shows [pairs, 2] each.

    Every label is in a pair that is shown. Raises ValueError if no such split was found.
    """
    pairs = torch.tensor(list(itertools.combinations(range(spec.vocabulary), 2)))
    held_out = spec.held_out_pairs
    for attempt in range(100):
        generator = torch.Generator().manual_seed(stream_seed("exemplars", "labels", spec.vocabulary, attempt))
        order = torch.randperm(len(pairs), generator=generator)
        shown = pairs[order[held_out:]]
        if shown.unique().numel() == spec.vocabulary:
            return shown, pairs[order[:held_out]]
    raise ValueError(
        f"held_out_labels: holding out {held_out} of {len(pairs)} pairs leaves a label that training never shows; "
        "lower it"
    )


def sequences(spec: ExemplarsSpec, kind: str, n: int, seed: int) -> Tensor:
    """`n` sequences [n, 6] of a kind in SETS, int64: x1 l1 x2 l2 xq and the query's label."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    shown, held_out = label_pairs(spec)
    pairs = held_out if kind == "relabelled" else shown
    classes, first = (spec.new_classes, spec.classes) if kind == "new_classes" else (spec.classes, 0)
    one = integers(classes, n)
    other = (one + 1 + integers(classes - 1, n)) % classes
    pair_N2 = first + torch.stack((one, other), dim=1)
    labels_N2 = pairs[integers(len(pairs), n)]
    labels_N2 = torch.where(integers(2, n, 1) == 1, labels_N2.flip(1), labels_N2)
    asked_N1 = integers(2, n, 1)
    class_N3 = torch.cat((pair_N2, pair_N2.gather(1, asked_N1)), dim=1)
    shown_N3 = spec.vocabulary + class_N3 * spec.exemplars + integers(spec.exemplars, n, 3)
    answer_N1 = labels_N2.gather(1, asked_N1)
    x1, x2, xq = shown_N3.split(1, dim=1)
    return torch.cat((x1, labels_N2[:, :1], x2, labels_N2[:, 1:], xq, answer_N1), dim=1)


def every_sequence(spec: ExemplarsSpec) -> Tensor:
    """All training sequences that show each class's first exemplar, once each [n, 6]."""
    shown, _ = label_pairs(spec)
    both_orders = torch.cat((shown, shown.flip(1)))
    classes = torch.cartesian_prod(torch.arange(spec.classes), torch.arange(spec.classes))
    classes = classes[classes[:, 0] != classes[:, 1]]
    which, pair, asked = torch.cartesian_prod(
        torch.arange(len(classes)), torch.arange(len(both_orders)), torch.arange(2)
    ).unbind(dim=1)
    exemplar, label = spec.vocabulary + classes[which] * spec.exemplars, both_orders[pair]
    query, answer = exemplar.gather(1, asked[:, None]), label.gather(1, asked[:, None])
    return torch.cat((exemplar[:, :1], label[:, :1], exemplar[:, 1:], label[:, 1:], query, answer), dim=1)


def answered(logits_BV: Tensor, tokens_B6: Tensor) -> dict[str, float]:
    """How well queries are answered: loss in nats, accuracy, and accuracy among the two labels in the context."""
    answer_B = tokens_B6[:, -1]
    in_context = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(1, tokens_B6[:, list(LABELS)], True)
    among_two = logits_BV.masked_fill(~in_context, -math.inf)
    return {
        "loss": F.cross_entropy(logits_BV.double(), answer_B).item(),
        "accuracy": (logits_BV.argmax(dim=1) == answer_B).double().mean().item(),
        "in_context_accuracy": (among_two.argmax(dim=1) == answer_B).double().mean().item(),
    }


def right_label(tokens_BT: Tensor, vocabulary: int, exemplars: int) -> Tensor:
    """Position of the label that belongs to the query [B], from the first five tokens of sequences."""
    class_of = (tokens_BT - vocabulary) // exemplars
    return torch.where(class_of[:, 0] == class_of[:, QUERY], LABELS[0], LABELS[1])


def read_features(folder: str | Path) -> Tensor:
    """The vectors of all exemplars [N F], in the order of their token ids.

    Raises FileNotFoundError or ValueError naming the file.
    """
    return load_tensors(Path(folder, FEATURES))[0]["features"]


class Stream:
    """A replicate's training sequences."""

    STEPS = 64
    """Steps whose sequences are drawn together: drawing is as slow for one step as for many."""

    def __init__(self, spec: ExemplarsSpec, data_dir: str | Path, seed: int):
        self.spec = spec
        self.first = stream_seed("data", "exemplars", seed)
        self.features = read_features(data_dir)[: spec.classes * spec.exemplars]
        """The vectors of all exemplars that training shows [N F]."""
        self.drawn: tuple[int, int, Tensor] | None = None

    def batch(self, step: int, n: int) -> Tensor:
        """The sequences [n, 6] (int64) of a step."""
        part, within = divmod(step, self.STEPS)
        if self.drawn is None or self.drawn[:2] != (part, n):
            self.drawn = part, n, sequences(self.spec, "trained", self.STEPS * n, self.first + part)
        return self.drawn[2][within * n : (within + 1) * n]
