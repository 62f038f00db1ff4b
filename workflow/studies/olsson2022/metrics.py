"""Metrics of Olsson et al. (2022) that only models of two languages have: argument 4, matching by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reinduce.config.declare import metric
from reinduce.metrics.heads import match_prefixes, repeat_offsets
from reinduce.metrics.inputs import MetricInputs
from reinduce.metrics.tolerances import SHARES

if TYPE_CHECKING:
    from torch import Tensor


@metric(
    level="head",
    unit="share of attention",
    value_range=(0, 1),
    evaluation_set="translated",
    also=("random",),
    halves=True,
    sites=("attention",),
    source="Olsson et al. 2022, argument 4, shown there by examples on natural languages",
    null="0.02–0.04 when the translation comes in another order",
    tolerance=SHARES,
)
def translation_prefix_matching(inputs: MetricInputs, layer: int) -> Tensor:
    """Prefix matching on random words followed by their translation: attention to what followed the same meaning.

    The paper shows such heads by examples on natural languages. The control is attention to the same places
    when the translation has another order.
    """
    return match_prefixes(inputs.attention(layer, _offsets(inputs)), inputs.period)


@metric(
    level="head",
    unit="share of attention",
    value_range=(0, 1),
    evaluation_set="translated_shuffled",
    also=("random",),
    halves=True,
    sites=("attention",),
    null="0.02–0.04 for every head: it is the null of translation_prefix_matching",
    tolerance=SHARES,
)
def translation_prefix_matching_shuffled(inputs: MetricInputs, layer: int) -> Tensor:
    """Attention to the places of `translation_prefix_matching` when the translation has another order."""
    return match_prefixes(inputs.attention(layer, _offsets(inputs)), inputs.period)


def _offsets(inputs: MetricInputs) -> list[int]:
    return repeat_offsets(inputs.period, inputs.tokens.shape[1])
