"""Metrics of Singh et al. (2024): how queries are answered, what heads look at, how the loss falls.

Shape suffixes: B sequence, H head, T position, V label, D model width, E, F head width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from reinduce.config.declare import metric
from reinduce.metrics.inputs import MetricInputs
from reinduce.metrics.tolerances import NATS, SHARES, STEPS
from reinduce.metrics.training import Curve, first_crossing
from reinduce.studies.singh2024.answers import score_answers
from reinduce.studies.singh2024.interventions import ForceMatch
from reinduce.studies.singh2024.tasks.fewshot_classification import LABELS, QUERY, SETS

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.config.metric_settings import MetricSettings
    from reinduce.model.transformer import Transformer

LEARNED = 0.4 * math.log(2)
"""Loss at which a run counts as having learned: four tenths of guessing between the two labels."""
SOLVED = 0.1
"""Loss to which the shape of a curve is followed."""
PLATEAU = (0.5, 0.8)
"""Losses about that of guessing between the two labels, log 2."""
LOSS = "query_loss:in_distribution"


@metric(
    level="model",
    unit="nats",
    value_range=(0, None),
    evaluation_sets=SETS,
    sites=("logits",),
    source="Singh et al. 2024",
    null="log 2 for guessing between the two labels",
    tolerance=NATS,
)
def query_loss(inputs: MetricInputs) -> float:
    """Loss of the query's label."""
    return _answers(inputs)["query_loss"]


@metric(
    level="model",
    unit="share of queries",
    value_range=(0, 1),
    evaluation_sets=SETS,
    sites=("logits",),
    source="Singh et al. 2024",
    null="0.5 for guessing between the two labels",
    tolerance=SHARES,
)
def query_accuracy(inputs: MetricInputs) -> float:
    """Share of queries whose most likely label is right."""
    return _answers(inputs)["query_accuracy"]


@metric(
    level="model",
    unit="share of queries",
    value_range=(0, 1),
    evaluation_sets=SETS,
    sites=("logits",),
    source="Singh et al. 2024",
    null="0.5 for guessing",
    tolerance=SHARES,
)
def in_context_accuracy(inputs: MetricInputs) -> float:
    """Share of queries for which the right label is more likely than the other one in the context."""
    return _answers(inputs)["in_context_accuracy"]


def _answers(inputs: MetricInputs) -> dict[str, float]:
    return score_answers(inputs.cache["logits"][:, -1], inputs.tokens)


@metric(
    level="head",
    unit="difference of attention",
    value_range=(-1, 1),
    evaluation_set="in_distribution",
    halves=True,
    sites=("pattern",),
    source="Singh et al. 2024",
    null="0 for a head that does not tell the labels apart",
    tolerance=SHARES,
)
def induction_strength(inputs: MetricInputs, layer: int) -> Tensor:
    """Attention from the query to the right label minus that to the wrong one, mean over sequences."""
    return attend_to_right_label(inputs.cache[f"blocks.{layer}.attn.pattern"], inputs.tokens)


@metric(
    level="head",
    unit="share of attention",
    value_range=(0, 1),
    evaluation_set="in_distribution",
    halves=True,
    sites=("pattern",),
    source="Singh et al. 2024, there by inspection of patterns",
    null="0.25–0.5 for even attention; from 0.4 on a head counts as a previous-token head",
    tolerance=SHARES,
)
def label_to_exemplar(inputs: MetricInputs, layer: int) -> Tensor:
    """Attention from a label to the exemplar before it, mean over both and over sequences."""
    return attend_to_exemplar(inputs.cache[f"blocks.{layer}.attn.pattern"])


@metric(
    level="model",
    unit="nats",
    value_range=(0, None),
    evaluation_sets=SETS[:1],
    source="Singh et al. 2024, as a progress metric",
    null="the loss itself, if the match is not what is missing",
    tolerance=NATS,
)
def loss_with_forced_match(inputs: MetricInputs) -> float:
    """Loss if every head of the last layer matched perfectly, at this checkpoint alone.

    It measures what the rest of the model could do already, unlike a clamp, under which the rest is
    trained with a perfect match.
    """
    model, read_BT = inputs.model, inputs.tokens[:, : QUERY + 1]
    matched = ForceMatch(layer=model.spec.n_layers - 1).interventions(model, read_BT, [], None)
    logits_BTV, _ = model(read_BT, matched)
    return torch.nn.functional.cross_entropy(logits_BTV[:, -1].double(), inputs.tokens[:, -1]).item()


def _composition(inputs: MetricInputs, layer: int, kind: str) -> dict[str, Tensor]:
    """Return for every head of the layer below the composition with each head of the last layer [H]; else nothing."""
    if layer != inputs.model.spec.n_layers - 1:
        return {}
    composed_HH = compose_heads(inputs.model, kind)
    return {f"{layer - 1}.{lower}": composed_HH[:, lower] for lower in range(composed_HH.shape[1])}


COMPOSITION = {
    "level": "head",
    "unit": "norm over product of norms",
    "value_range": (0, 1),
    "also": SETS[:1],
    "min_layers": 2,
    "only_ends": True,
    "source": "Elhage et al. 2021",
    "null": "about the inverse root of the model width for random weights",
    "tolerance": SHARES,
}


@metric(**COMPOSITION)
def q_composition(inputs: MetricInputs, layer: int) -> dict[str, Tensor]:
    """Composition of a last layer's head with a head below (the suffix) through its queries, by weights alone.

    The Frobenius norm of the product of the lower head's output matrix and the upper head's query matrix, over
    the product of their norms.
    """
    return _composition(inputs, layer, "q")


@metric(**COMPOSITION)
def k_composition(inputs: MetricInputs, layer: int) -> dict[str, Tensor]:
    """Composition of a last layer's head with a head below (the suffix) through its keys, by weights alone.

    The Frobenius norm of the product of the lower head's output matrix and the upper head's key matrix, over
    the product of their norms.
    """
    return _composition(inputs, layer, "k")


@metric(**COMPOSITION)
def v_composition(inputs: MetricInputs, layer: int) -> dict[str, Tensor]:
    """Composition of a last layer's head with a head below (the suffix) through its values, by weights alone.

    The Frobenius norm of the product of the lower head's output matrix and the upper head's value matrix, over
    the product of their norms.
    """
    return _composition(inputs, layer, "v")


Curves = Mapping[str, Curve]


@metric(level="run", unit="step", after=("query_loss",), null="null for a run that never learns", tolerance=STEPS)
def learned_step(curves: Curves, settings: MetricSettings) -> float | None:
    """First step at which the loss on sequences like those of training reaches 0.4 log 2.

    Between checkpoints the loss is read as straight.
    """
    return first_crossing(curves[LOSS], LEARNED)


@metric(level="run", unit="step", after=("query_loss",), null="null for a run that never gets there", tolerance=STEPS)
def solved_step(curves: Curves, settings: MetricSettings) -> float | None:
    """First step at which the loss on sequences like those of training reaches 0.1."""
    return first_crossing(curves[LOSS], SOLVED)


@metric(
    level="run",
    unit="share of checkpoints",
    value_range=(0, 1),
    after=("query_loss",),
    null="below 0.3 for an exponential fall",
    tolerance=SHARES,
)
def plateau_share(curves: Curves, settings: MetricSettings) -> float | None:
    """Share of the checkpoints before learning (of all, if it never comes) with a loss about that of guessing.

    That is a loss between 0.5 and 0.8 nats; guessing between the two labels gives log 2.
    """
    loss = curves[LOSS]
    learned = first_crossing(loss, LEARNED)
    before = [value for step, value in loss if learned is None or step < learned]
    plateau = [PLATEAU[0] < value < PLATEAU[1] for value in before]
    return sum(plateau) / len(plateau) if plateau else None


@metric(
    level="run",
    unit="log loss",
    after=("query_loss",),
    null="0 for an exponential fall, and for any that only slows down",
    tolerance=NATS,
)
def log_loss_concavity(curves: Curves, settings: MetricSettings) -> float | None:
    """How far the loss curve lies above an exponential fall: 0 for an exponential, large after a plateau.

    The largest distance of log loss above the straight line from its start to where it first reaches 0.1; null
    if it never does. A fall that only slows down scores 0 too. The paper shows curves.
    """
    return measure_concavity(curves[LOSS])


@metric(
    level="run",
    unit="log loss",
    after=("loss_with_forced_match",),
    null="0 for an exponential fall, and for any that only slows down",
    tolerance=NATS,
)
def log_loss_concavity_with_forced_match(curves: Curves, settings: MetricSettings) -> float | None:
    """The value of `log_loss_concavity` for the curve of `loss_with_forced_match`."""
    return measure_concavity(curves["loss_with_forced_match:in_distribution"])


def attend_to_right_label(pattern_BHTT: Tensor, tokens_B6: Tensor) -> Tensor:
    """Return attention from the query to the right label minus that to the wrong one, mean over sequences [H]."""
    right_B11 = torch.where(tokens_B6[:, LABELS[0]] == tokens_B6[:, -1], LABELS[0], LABELS[1])[:, None, None]
    query_BHT = pattern_BHTT[:, :, QUERY]
    at = right_B11.expand(-1, query_BHT.shape[1], 1)
    return (query_BHT.gather(2, at) - query_BHT.gather(2, sum(LABELS) - at)).mean(dim=(0, 2))


def attend_to_exemplar(pattern_BHTT: Tensor) -> Tensor:
    """Return attention from a label to the exemplar before it, mean over both and over sequences [H]."""
    return torch.stack([pattern_BHTT[:, :, label, label - 1] for label in LABELS]).mean(dim=(0, 1))


def compose_heads(model: Transformer, kind: str) -> Tensor:
    """Return the composition of every pair of heads in the last two layers [upper H, lower H].

    By weights alone: the Frobenius norm of what the lower head's output matrix becomes under the upper
    head's queries, keys or values (`kind`: q, k or v), over the product of both norms.
    """
    below, last = (model.blocks[layer].attn for layer in (-2, -1))
    D, H = model.spec.d_model, model.spec.n_heads
    W_DHE, W_HED = below.W_O.view(D, H, -1), last.W_QKV.view(3, H, -1, D)["qkv".index(kind)]
    both_HH = torch.einsum("ied,dhf->ihef", W_HED, W_DHE).flatten(2).norm(dim=2)
    return both_HH / (W_HED.flatten(1).norm(dim=1)[:, None] * W_DHE.transpose(0, 1).flatten(1).norm(dim=1))


def measure_concavity(loss: Curve) -> float | None:
    """Return how far a loss curve lies above an exponential fall, in units of log loss: 0 for an exponential.

    The largest distance of log loss above the straight line from its start to where it
    first reaches `SOLVED`; a plateau before the fall makes it large. None if it never does.
    """
    end = first_crossing(loss, SOLVED)
    if not end:
        return None
    start = math.log(loss[0][1])
    chord = [(step, value, start + (math.log(SOLVED) - start) * step / end) for step, value in loss if step <= end]
    return max(math.log(value) - line for _, value, line in chord)
