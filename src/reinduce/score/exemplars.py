"""What is measured of runs on exemplars: how they answer, what their heads look at, how their loss falls.

After Singh et al. (2024). Shape suffixes: B sequence, H head, T position, V label.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import ArmSpec, ClampSpec, MeasureSpec
from reinduce.model.clamps import match
from reinduce.model.transformer import Transformer
from reinduce.score.trajectory import Curve, crossing
from reinduce.task.evaluation import read_examples
from reinduce.task.exemplars import LABELS, QUERY, SETS, read_features, right_label

VERSION = 1
LEARNED = 0.4 * math.log(2)
"""Loss at which a run counts as having learned: four tenths of guessing between the two labels."""
SOLVED = 0.1
"""Loss to which the shape of a curve is followed."""
PLATEAU = (0.5, 0.8)
"""Losses about that of guessing between the two labels, log 2."""


class Exemplars:
    """Measures of one run, checkpoint by checkpoint, and then of the whole."""

    def __init__(self, folder: Path, arm: ArmSpec, spec: MeasureSpec):
        self.arm = arm
        self.sets = {kind: read_examples(folder / f"{kind}.parquet") for kind in SETS}
        self.features = read_features(folder)
        self.curve: Curve = []
        self.if_matched: Curve = []
        self.tables: dict[str, list[dict]] = {}

    @torch.no_grad()
    def measure(self, step: int, model: Transformer) -> Iterator[dict]:
        """Rows of `scores` of a checkpoint, without the run's keys; steps come in order."""
        model.give_features(self.features)
        for kind, tokens in self.sets.items():
            logits_BV = model(tokens[:, : QUERY + 1])[0][:, -1]
            for name, value in answered(logits_BV, tokens).items():
                yield row(f"{name}:{kind}", value, len(tokens))
                if (name, kind) == ("loss", "trained"):
                    self.curve.append((step, value))
        trained = self.sets["trained"]
        self.if_matched.append((step, loss_if_matched(model, trained)))
        yield row("loss_if_matched:trained", self.if_matched[-1][1], len(trained))
        for metric, layers in head_measures(model, trained[:, : QUERY + 1]).items():
            for layer, values_H in enumerate(layers):
                for head, value in enumerate(values_H.tolist()):
                    yield row(metric, value, len(trained)) | {"layer": layer, "head": head}

    def trajectories(self) -> dict[str, float | None]:
        """Measures of the whole run."""
        return measures(self.curve) | {"non_exponential_if_matched": non_exponentiality(self.if_matched)}


def row(metric: str, value: float, n: int) -> dict:
    return {"metric": metric, "metric_version": VERSION, "value": value, "n": n}


def answered(logits_BV: Tensor, tokens_B6: Tensor) -> dict[str, float]:
    """How well queries are answered: loss in nats, accuracy, and accuracy among the two labels in the context."""
    answer_B = tokens_B6[:, -1]
    in_context = torch.zeros_like(logits_BV, dtype=torch.bool).scatter(1, tokens_B6[:, list(LABELS)], True)
    among_two = logits_BV.masked_fill(~in_context, -math.inf)
    return {
        "loss": torch.nn.functional.cross_entropy(logits_BV.double(), answer_B).item(),
        "accuracy": (logits_BV.argmax(dim=1) == answer_B).double().mean().item(),
        "in_context_accuracy": (among_two.argmax(dim=1) == answer_B).double().mean().item(),
    }


def loss_if_matched(model: Transformer, tokens_B6: Tensor) -> float:
    """Loss in nats if every head of the last layer matched perfectly, at this checkpoint alone.

    A progress measure: what the rest of the model could do already. It differs from a
    clamp, under which the rest is trained with a perfect match.
    """
    last = ClampSpec(what="match", layer=model.spec.layers - 1)
    read_BT = tokens_B6[:, : QUERY + 1]
    logits_BTV, _ = model(read_BT, match(model, read_BT, last, []))
    return torch.nn.functional.cross_entropy(logits_BTV[:, -1].double(), tokens_B6[:, -1]).item()


def head_measures(model: Transformer, tokens_BT: Tensor) -> dict[str, list[Tensor]]:
    """Per metric and layer a value for every head [H].

    `induction_strength`: attention from the query to the right label minus that to the wrong
    one. `label_to_exemplar`: attention from a label to the exemplar before it, mean of both.
    """
    names = [f"blocks.{layer}.attn.pattern" for layer in range(model.spec.layers)]
    _, captured = model(tokens_BT, capture=names)
    right_B = right_label(tokens_BT, model.spec.vocabulary, model.spec.exemplars)
    made: dict[str, list[Tensor]] = {"induction_strength": [], "label_to_exemplar": []}
    for name in names:
        query_BHT = captured[name][:, :, QUERY]
        at = right_B[:, None, None].expand(-1, query_BHT.shape[1], 1)
        difference_BH1 = query_BHT.gather(2, at) - query_BHT.gather(2, sum(LABELS) - at)
        made["induction_strength"].append(difference_BH1.mean(dim=(0, 2)))
        before = [captured[name][:, :, label, label - 1] for label in LABELS]
        made["label_to_exemplar"].append(torch.stack(before).mean(dim=(0, 1)))
    return made


def measures(loss: Curve) -> dict[str, float | None]:
    """Measures of a whole run, from its loss on sequences like those of training.

    `learned_step`, `solved_step`: when the loss first reaches `LEARNED` and `SOLVED`, null if
    never. `plateau_share`: share of the checkpoints before learning (of all, if it never
    comes) with a loss about that of guessing. `non_exponential`: see `non_exponentiality`.
    """
    learned = crossing(loss, LEARNED)
    before = [value for step, value in loss if learned is None or step < learned]
    plateau = [PLATEAU[0] < value < PLATEAU[1] for value in before]
    return {
        "learned_step": learned,
        "solved_step": crossing(loss, SOLVED),
        "plateau_share": sum(plateau) / len(plateau) if plateau else None,
        "non_exponential": non_exponentiality(loss),
    }


def non_exponentiality(loss: Curve) -> float | None:
    """How far a loss curve lies above an exponential fall, in units of log loss: 0 for an exponential.

    The largest distance of log loss above the straight line from its start to where it
    first reaches `SOLVED`; a plateau before the fall makes it large. Null if it never does.
    """
    end = crossing(loss, SOLVED)
    if not end:
        return None
    start = math.log(loss[0][1])
    chord = [(step, value, start + (math.log(SOLVED) - start) * step / end) for step, value in loss if step <= end]
    return max(math.log(value) - line for _, value, line in chord)
