"""What is measured of runs on exemplars: how they answer, what their heads look at, how their loss falls.

After Singh et al. (2024). Shape suffixes: B sequence, H head, T position, V label, D model width,
E, F head width.
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
from reinduce.task.exemplars import LABELS, QUERY, SETS, answered, read_features

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
        patterns = [f"blocks.{layer}.attn.pattern" for layer in range(model.spec.layers)]
        trained = self.sets["trained"]
        for kind, tokens in self.sets.items():
            logits_BTV, captured = model(tokens[:, : QUERY + 1], capture=patterns if kind == "trained" else [])
            for name, value in answered(logits_BTV[:, -1], tokens).items():
                yield row(f"{name}:{kind}", value, len(tokens))
                if (name, kind) == ("loss", "trained"):
                    self.curve.append((step, value))
            for layer, name in enumerate(captured):
                for metric, measure in OF_HEADS.items():
                    for head, value in enumerate(measure(captured[name], trained).tolist()):
                        yield row(metric, value, len(trained)) | {"layer": layer, "head": head}
        self.if_matched.append((step, loss_if_matched(model, trained)))
        yield row("loss_if_matched:trained", self.if_matched[-1][1], len(trained))
        if step in (0, self.arm.train.steps):
            for kind, upper, lower, value in compositions(model):
                yield row(f"{kind}_composition:{lower}", value, 1) | {"layer": model.spec.layers - 1, "head": upper}

    def trajectories(self) -> dict[str, float | None]:
        """Measures of the whole run."""
        return measures(self.curve) | {"non_exponential_if_matched": non_exponentiality(self.if_matched)}


def row(metric: str, value: float, n: int) -> dict:
    return {"metric": metric, "metric_version": VERSION, "value": value, "n": n}


def induction_strength(pattern_BHTT: Tensor, tokens_B6: Tensor) -> Tensor:
    """Attention from the query to the right label minus that to the wrong one, mean over sequences [H]."""
    right_B11 = torch.where(tokens_B6[:, LABELS[0]] == tokens_B6[:, -1], *LABELS)[:, None, None]
    query_BHT = pattern_BHTT[:, :, QUERY]
    at = right_B11.expand(-1, query_BHT.shape[1], 1)
    return (query_BHT.gather(2, at) - query_BHT.gather(2, sum(LABELS) - at)).mean(dim=(0, 2))


def label_to_exemplar(pattern_BHTT: Tensor, tokens_B6: Tensor) -> Tensor:
    """Attention from a label to the exemplar before it, mean over both and over sequences [H]."""
    return torch.stack([pattern_BHTT[:, :, label, label - 1] for label in LABELS]).mean(dim=(0, 1))


OF_HEADS = {"induction_strength": induction_strength, "label_to_exemplar": label_to_exemplar}
"""Metric → what makes it of a layer's attention patterns."""


def compositions(model: Transformer) -> Iterator[tuple[str, int, str, float]]:
    """(kind, upper head, lower head as 'layer.head', value) for every pair of heads in the last two layers.

    By weights alone: the Frobenius norm of what the lower head's output matrix becomes under
    the upper head's queries, keys or values, over the product of both norms (Elhage et al.
    2021; Singh et al. 2024 use the same).
    """
    if model.spec.layers < 2:
        return
    below, last = (model.blocks[layer].attn for layer in (-2, -1))
    D, H = model.spec.d_model, model.spec.heads
    W_DHE = below.W_O.view(D, H, -1)
    for kind, W_HED in zip("qkv", last.W_QKV.view(3, H, -1, D), strict=True):
        both_HH = torch.einsum("ied,dhf->ihef", W_HED, W_DHE).flatten(2).norm(dim=2)
        sizes_HH = W_HED.flatten(1).norm(dim=1)[:, None] * W_DHE.transpose(0, 1).flatten(1).norm(dim=1)
        for upper, values in enumerate((both_HH / sizes_HH).tolist()):
            for lower, value in enumerate(values):
                yield kind, upper, f"{model.spec.layers - 2}.{lower}", value


def loss_if_matched(model: Transformer, tokens_B6: Tensor) -> float:
    """Loss in nats if every head of the last layer matched perfectly, at this checkpoint alone.

    A progress measure: what the rest of the model could do already. It differs from a
    clamp, under which the rest is trained with a perfect match.
    """
    last = ClampSpec(what="match", layer=model.spec.layers - 1)
    read_BT = tokens_B6[:, : QUERY + 1]
    logits_BTV, _ = model(read_BT, match(model, read_BT, last, []))
    return torch.nn.functional.cross_entropy(logits_BTV[:, -1].double(), tokens_B6[:, -1]).item()


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
