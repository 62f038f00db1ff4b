"""What metrics and ablations are computed from.

Shape suffixes: B example, T token, T1 predicted token, H head, E head width, O offset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import HALVES
from reinduce.model.sites import site_kind
from reinduce.tasks.evaluation_sets import EvaluationSet

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.config.metric_settings import MetricSettings
    from reinduce.config.task_definition import TaskDefinition
    from reinduce.model.transformer import Transformer

ROWS = 64
"""Sequences in a forward pass that a metric makes itself."""


def halve(examples: int) -> dict[str, slice]:
    """Return the two halves of some examples; the second has the odd one.

    >>> halve(5)
    {'first_half': slice(0, 2, None), 'second_half': slice(2, 5, None)}
    """
    middle = examples // 2
    return dict(zip(HALVES, (slice(0, middle), slice(middle, examples)), strict=True))


class EvaluationSets(Mapping[str, EvaluationSet]):
    """The evaluation sets of a task, read when they are first asked for."""

    def __init__(self, folder: Path, task: TaskDefinition):
        """Args:
        folder: the task's data folder.
        task: the task.
        """
        self.folder, self.task = folder, task
        self._read: dict[str, EvaluationSet] = {}

    def __getitem__(self, name: str) -> EvaluationSet:
        if name not in self.task.evaluation_sets:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = EvaluationSet(self.folder / f"{name}.parquet")
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.task.evaluation_sets)

    def __len__(self) -> int:
        return len(self.task.evaluation_sets)


class ActivationCache(dict[str, "Tensor"]):
    """Activations by site name, for one metric; it refuses sites that the metric does not declare."""

    def __init__(self, metric: str, activations: Mapping[str, Tensor]):
        """Args:
        metric: the metric's name.
        activations: site name → activation.
        """
        super().__init__(activations)
        self.metric = metric

    def __missing__(self, site: str) -> Tensor:
        kind = site_kind(site)
        raise ValueError(f"metric {self.metric!r} reads {site!r}, but its `sites` do not name {kind!r}; add it there")


@dataclass
class MetricInputs:
    """A checkpoint's model, and what its forward pass over one evaluation set left behind."""

    model: Transformer
    sets: EvaluationSets
    """All evaluation sets of the task."""
    settings: MetricSettings
    """How checkpoints are measured."""
    tokens: Tensor | None = None
    """Token ids of the metric's evaluation set [B T], as many examples as it uses; None for metrics of weights."""
    losses: Tensor | None = None
    """Loss of every predicted token in nats [B T-1]; entry i is the loss of predicting token index i + 1."""
    cache: dict[str, Tensor] = field(default_factory=dict)
    """Activations by site name, such as `blocks.0.attn.pattern` [B H T T], and `logits` [B T V]: those of the kinds
    that the metric's `sites` name. `reinduce.model.sites` lists names and shapes."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values of metrics of this checkpoint that are named in `after`: of heads a list over layers of [H]."""

    @property
    def period(self) -> int:
        """Length of the repeated part of the set `repeated`."""
        return self.sets["random"].tokens.shape[1] - 1

    def attention(self, layer: int, offsets: Sequence[int]) -> Tensor:
        """Return attention from every query to the keys some tokens before it [O B H T], 0 before the sequence.

        Needs the site `attention`. No pattern is formed, unless a clamp forms it.
        """
        name = f"blocks.{layer}.attn"
        # Another metric may ask for patterns beside it; attention is then read off queries and keys all the same.
        if f"{name}.lse" not in self.cache:
            return select_diagonals(self.cache[f"{name}.pattern"], offsets)
        q, k, lse = (self.cache[f"{name}.{kind}"] for kind in ("q", "k", "lse"))
        return attention_diagonals(q, k, lse, offsets)

    def losses_on(self, tokens_BT: Tensor) -> Tensor:
        """Return the losses of every predicted token [B T-1] of other sequences, by passes of the metric's own."""
        from reinduce.model.transformer import token_losses

        return torch.cat([token_losses(self.model(part)[0], part) for part in torch.split(tokens_BT, ROWS)])


@dataclass
class AblationInputs:
    """A checkpoint's model, and what its ablation goes by."""

    model: Transformer
    sets: EvaluationSets
    tokens: Tensor
    """Token ids of the second half of the ablation's evaluation set: heads are chosen on the first."""
    scores: Sequence[Mapping[str, Any]]
    """Rows of the scores at the last checkpoint, by which heads are chosen: by metrics of the first half."""
    is_end: bool
    """Whether this is the first or the last checkpoint."""


def select_diagonals(pattern_BHTT: Tensor, offsets: Sequence[int]) -> Tensor:
    """Return a pattern's attention to the keys some tokens back [O B H T], 0 before the sequence."""
    pad = torch.nn.functional.pad
    return torch.stack([pad(pattern_BHTT.diagonal(-offset, 2, 3), (offset, 0)) for offset in offsets])


def attention_diagonals(q_BTHE: Tensor, k_BTHE: Tensor, lse_BHT: Tensor, offsets: Sequence[int]) -> Tensor:
    """Return the same from queries, keys, and the log-sum-exp of the scores."""
    T, found = q_BTHE.shape[1], []
    for offset in offsets:
        scores_BTH = (q_BTHE[:, offset:] * k_BTHE[:, : T - offset]).sum(dim=-1) / math.sqrt(q_BTHE.shape[-1])
        weights_BHT = (scores_BTH.transpose(1, 2) - lse_BHT[:, :, offset:]).exp()
        found.append(torch.nn.functional.pad(weights_BHT, (offset, 0)))
    return torch.stack(found)
