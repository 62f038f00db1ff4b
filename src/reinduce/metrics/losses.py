"""Metrics of the whole model, from its losses by token index.

Losses are in nats; entry i of a row is the loss of predicting token index i + 1.
Shape suffixes: B example, T1 predicted token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reinduce.config.declare import metric
from reinduce.config.job_specs import require
from reinduce.config.metric_settings import PositionRanges
from reinduce.metrics.inputs import MetricInputs
from reinduce.metrics.tolerances import NATS
from reinduce.tasks.evaluation_sets import EvaluationSet
from reinduce.tasks.token_classes import completes_seen_bigram

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.config.metric_settings import MetricSettings

TOKEN_CLASSES = ("all", "copyable", "other")


def classify_tokens(tokens_BT: Tensor) -> dict[str, Tensor]:
    """Return which predicted tokens belong to each of TOKEN_CLASSES [B T-1].

    `copyable`: tokens that complete a bigram of their document that came before; `other`: the rest.
    """
    copyable = completes_seen_bigram(tokens_BT)[:, 1:]
    return {"all": copyable | True, "copyable": copyable, "other": ~copyable}


def classify_set(examples: EvaluationSet) -> dict[str, Tensor]:
    """Return the token classes of an evaluation set, computed once."""
    return examples.derive("token classes", lambda examples: classify_tokens(examples.tokens))


def weigh_loss(tokens_BT: Tensor, settings: MetricSettings) -> Tensor:
    """Return the weights by which the mean loss is a sum over predicted tokens [B T-1]."""
    ones = torch.ones((len(tokens_BT), tokens_BT.shape[1] - 1), dtype=torch.float64)
    return ones / ones.numel()


def weigh_score(name: str):
    """Return the function that gives the weights by which an in-context score of a token class is a sum."""

    def weigh(tokens_BT: Tensor, settings: MetricSettings) -> Tensor | None:
        pair, member = settings.icl_position_ranges[0], classify_tokens(tokens_BT)[name]
        late, early = (_mean_weights(member, ends) for ends in (pair.late, pair.early))
        return None if late is None or early is None else late - early

    return weigh


def _mean_weights(member_BT1: Tensor, ends: tuple[int, int]) -> Tensor | None:
    """Return weights that take the mean over the tokens of a class between two indices, both included."""
    chosen = torch.zeros(member_BT1.shape, dtype=torch.float64)
    chosen[:, ends[0] - 1 : ends[1]] = member_BT1[:, ends[0] - 1 : ends[1]].double()
    return chosen / chosen.sum() if chosen.any() else None


@metric(
    level="model",
    unit="nats a token",
    value_range=(0, None),
    evaluation_set="heldout",
    sites=("losses",),
    token_weights=weigh_loss,
    null="the logarithm of the vocabulary for even predictions",
    tolerance=NATS,
)
def loss(inputs: MetricInputs) -> float:
    """Mean loss on held-out sequences."""
    return inputs.losses.double().mean().item()


@metric(
    level="model",
    unit="nats a token",
    evaluation_set="heldout",
    sites=("losses",),
    token_weights=weigh_score("all"),
    source="Olsson et al. 2022, argument 1",
    null="0 for a model that uses no context beyond a few tokens",
    tolerance=NATS,
)
def icl_score(inputs: MetricInputs) -> dict[str, float | None]:
    """In-context score: mean loss at late token indices minus mean loss at early ones.

    Negative: the model predicts better the more context it has; the paper writes the score with either
    sign. The first pair of ranges is the one that claims use; the score of every pair has the pair's name as
    suffix. Ranges of indices, both ends included, stand in for the paper's single ones, because the held-out
    sets are smaller than its 10,000 examples.
    """
    pairs = inputs.settings.icl_position_ranges
    named = {pair.name: score_in_context(inputs.losses, pair) for pair in pairs}
    return {"": named[pairs[0].name]} | named


@metric(
    level="model",
    unit="nats a token",
    evaluation_set="heldout",
    sites=("losses",),
    token_weights=weigh_score("copyable"),
    null="0 for a model that does not copy",
    tolerance=NATS,
)
def icl_score_copyable(inputs: MetricInputs) -> float | None:
    """In-context score of tokens that complete a bigram of their document; null if there are none.

    One rule for synthetic data, where it is known by construction which tokens can be copied, and for text,
    where it is not: the token's bigram occurred earlier in the same example.
    """
    return score_in_context(
        inputs.losses, inputs.settings.icl_position_ranges[0], classify_set(inputs.sets["heldout"])["copyable"]
    )


@metric(
    level="model",
    unit="nats a token",
    evaluation_set="heldout",
    sites=("losses",),
    token_weights=weigh_score("other"),
    null="about 0 for a model that only copies",
    tolerance=NATS,
)
def icl_score_other(inputs: MetricInputs) -> float | None:
    """In-context score of tokens that complete no bigram of their document."""
    return score_in_context(
        inputs.losses, inputs.settings.icl_position_ranges[0], classify_set(inputs.sets["heldout"])["other"]
    )


@metric(
    level="model",
    unit="nats",
    value_range=(0, None),
    evaluation_set="heldout",
    sites=("losses",),
    null="larger than 0 always; over the root of the number of documents it is the score's standard error",
    tolerance=NATS,
)
def icl_spread(inputs: MetricInputs) -> float:
    """Standard deviation over documents of their own in-context scores."""
    pair = inputs.settings.icl_position_ranges[0]
    late, early = (inputs.losses[:, low - 1 : high].double().mean(dim=1) for low, high in (pair.late, pair.early))
    return (late - early).std().item()


@metric(
    level="model",
    unit="nats per unit of ln(index)",
    evaluation_set="heldout",
    sites=("losses",),
    source="Olsson et al. 2022, argument 1",
    null="0 for losses that do not depend on the index",
    tolerance=NATS,
)
def loss_derivative(inputs: MetricInputs) -> float:
    """Slope of the mean loss by the natural logarithm of the token index, by least squares over a range."""
    return fit_log_slope(inputs.losses, *inputs.settings.loss_slope_positions)


@metric(
    level="model",
    unit="nats a token",
    value_range=(0, None),
    evaluation_set="repeated",
    also=("random",),
    sites=("losses",),
    source="Olsson et al. 2022",
    null="the logarithm of the vocabulary for a model that copies nothing",
    tolerance=NATS,
)
def repeat_loss(inputs: MetricInputs) -> float:
    """Mean loss on the second and later repeats of a repeated random sequence.

    The first token of a repeat is predicted too: the order of repeats is the same.
    """
    return mean_repeat_loss(inputs.losses, inputs.period)


@metric(
    level="model",
    unit="nats a token",
    evaluation_set="repeated",
    also=("random",),
    sites=("losses",),
    null="about 0.5 nats for one layer of attention, which copies nothing",
    tolerance=NATS,
)
def repeated_sequence_gain(inputs: MetricInputs) -> float:
    """How much better later repeats of a random sequence are predicted than the first.

    Mean loss on the first of several repeats minus that on the later ones. It measures what a model makes of
    a repeat by any mechanism, and is defined for models without heads too.
    """
    return gain_on_repeats(inputs.losses, inputs.period)


def score_in_context(losses_BT1: Tensor, pair: PositionRanges, mask_BT1: Tensor | None = None) -> float | None:
    """Return mean loss at the pair's late indices minus mean loss at its early ones, in nats a token.

    Args:
        losses_BT1: losses of predicted tokens.
        pair: the two ranges.
        mask_BT1: which tokens count; None: all.

    Returns:
        The score; None if the mask leaves no token in either range.

    Raises:
        ValueError: if the pair reaches beyond the context.
    """
    late, early = (_mean_at(losses_BT1, ends, mask_BT1) for ends in (pair.late, pair.early))
    return None if late is None or early is None else late - early


def _mean_at(losses_BT1: Tensor, ends: tuple[int, int], mask_BT1: Tensor | None) -> float | None:
    """Return the mean loss between two token indices, both included."""
    low, high = ends
    last = losses_BT1.shape[1]
    require(high <= last, f"token indices {low} to {high} reach beyond the last of the context, {last}")
    part = losses_BT1[:, low - 1 : high]
    if mask_BT1 is not None:
        part = part[mask_BT1[:, low - 1 : high]]
    return part.double().mean().item() if part.numel() else None


def fit_log_slope(losses_BT1: Tensor, low: int, high: int) -> float:
    """Return the slope of mean loss by the natural log of the token index, by least squares over [low, high]."""
    means = losses_BT1.double().mean(dim=0)[low - 1 : high]
    log_index = torch.arange(low, low + len(means)).double().log()
    centred = log_index - log_index.mean()
    return ((centred * means).sum() / (centred * centred).sum()).item()


def mean_repeat_loss(losses_BT1: Tensor, period: int) -> float:
    """Return the mean loss on the second and later repeats."""
    return losses_BT1[:, period:].double().mean().item()


def gain_on_repeats(losses_BT1: Tensor, period: int) -> float:
    """Return the mean loss on the first repeat minus that on the later ones."""
    return losses_BT1[:, :period].double().mean().item() - mean_repeat_loss(losses_BT1, period)


def loss_by_position(losses_BT1: Tensor, classes: dict[str, Tensor]):
    """Yield (token class, token index, mean loss, tokens counted); indices where a class is empty are left out.

    Args:
        losses_BT1: losses of predicted tokens.
        classes: name → which predicted tokens belong to the class [B T-1].
    """
    for name, member in classes.items():
        counts = member.sum(dim=0)
        means = (losses_BT1.double() * member).sum(dim=0) / counts.clamp(min=1)
        for i, (mean, count) in enumerate(zip(means.tolist(), counts.tolist(), strict=True)):
            if count:
                yield name, i + 1, mean, count
