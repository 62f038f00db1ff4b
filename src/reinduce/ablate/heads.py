"""Ablations of heads on held-out documents: each alone at every checkpoint, pairs and selected sets at the last.

Shape suffixes: B document, T1 predicted token.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reinduce.ablate.effects import AblationMetrics
from reinduce.ablate.joint import ABLATIONS, MAX_SEQUENCES_PER_PASS, OTHER_INTERVENTIONS, joint_losses
from reinduce.ablate.sweep import DOWNSTREAM, pairs_of_heads, single_heads
from reinduce.config.declare import Metric
from reinduce.config.job_specs import ArmSpec, require, stream_seed
from reinduce.config.metric_settings import AblateSpec, MetricSettings
from reinduce.metrics.head_selection import Head, heads_above_threshold, heads_name, layer_matched_random_heads
from reinduce.metrics.inputs import EvaluationSets
from reinduce.model.ablation_values import collect_ablation_values
from reinduce.model.transformer import Transformer, token_losses

Joint = tuple[str, int | None, tuple[str, str], Sequence[Head]]
"""Why these heads, which random draw, the intervention and what is downstream, and the heads."""


class HeadAblations:
    """The ablations of one run's heads, checkpoint by checkpoint."""

    def __init__(
        self,
        arm: ArmSpec,
        seed: int,
        spec: AblateSpec,
        settings: MetricSettings,
        metrics: Mapping[str, Metric],
        sets: EvaluationSets,
    ):
        """Raises ValueError if there are fewer held-out documents than the ablation needs."""
        heldout = sets["heldout"]
        self.arm, self.seed, self.spec = arm, seed, spec
        require(
            len(heldout) >= spec.examples, f"{heldout.path}: {len(heldout)} examples, ablation needs {spec.examples}"
        )
        # The last documents: heads are chosen on other data, some by their attention on the first documents.
        first = len(heldout) - spec.examples
        documents = slice(first, len(heldout))
        self.tokens, self.index = heldout.tokens[documents], heldout.column("loss_index")[documents]
        self._metrics = lambda examples, direction: AblationMetrics(
            metrics, sets, settings, slice(first, first + examples), direction
        )
        self.swept = slice(spec.sweep_examples)

    def set_window(
        self, model_at: Callable[[int], Transformer], steps: Sequence[int], window: tuple[float, float] | None
    ) -> None:
        """Prepare what is measured; `window`: the run's phase-change window, if it has one."""
        direction = change_direction(lambda step: clean_losses(model_at(step), self.tokens), steps, self.index, window)
        few = len(self.tokens[self.swept])
        self.whole = self._metrics(len(self.tokens), direction)
        self.few = self._metrics(few, None if direction is None else direction[self.swept])

    @torch.no_grad()
    def sweep(self, model: Transformer, is_last: bool) -> Iterator[dict[str, Any]]:
        """Yield the effects of ablating each head alone and, at the last checkpoint, each pair."""
        tokens_BT = self.tokens[self.swept]
        values = collect_ablation_values(model, tokens_BT)
        baseline = self.few.measure(clean_losses(model, tokens_BT)[None])[0]
        for selection, sweep in {"single": single_heads, "pair": pairs_of_heads}.items():
            if selection == "pair" and not is_last:
                continue
            summed: dict[tuple[tuple[str, str], tuple[Head, ...]], Tensor] = {}
            for rows, ablation, copies, losses in sweep(model, tokens_BT, values, self.spec.sweep_methods):
                for copy, part in zip(copies, self.few.measure(losses, rows), strict=True):
                    key = (ablation, copy)
                    summed[key] = summed[key] + part if key in summed else part
            for ((method, downstream), heads), total in summed.items():
                facts: dict[str, Any] = {"intervention": method, "downstream": downstream}
                facts |= {"selection": selection, "heads": heads_name(heads)}
                if selection == "single":
                    facts |= {"layer": heads[0][0], "head": heads[0][1]}
                yield from (facts | row for row in self.few.rows(total, baseline))

    @torch.no_grad()
    def ablate_jointly(self, model: Transformer, joint: Iterable[Joint]) -> Iterator[dict[str, Any]]:
        """Yield the effects of interventions on several heads at once."""
        values = collect_ablation_values(model, self.tokens)
        baseline = self.whole.measure(clean_losses(model, self.tokens)[None])[0]
        joint, noise = list(joint), stream_seed("noise", self.arm.study, self.arm.arm, self.seed)
        asked = [(intervention, heads) for _, _, intervention, heads in joint]
        all_losses = joint_losses(model, self.tokens, asked, values, noise)
        for (selection, replicate, (name, downstream), heads), losses in zip(joint, all_losses, strict=True):
            facts = {"intervention": name, "downstream": downstream, "selection": selection, "replicate": replicate}
            facts |= {"heads": heads_name(heads)}
            yield from (facts | row for row in self.whole.rows(self.whole.measure(losses[None])[0], baseline))

    def plan_joint(self, scores: Sequence[Mapping[str, Any]]) -> Iterator[Joint]:
        """Yield every joint intervention; none for a selection that is empty in this run."""
        selected = {one.name: heads_above_threshold(scores, one.metric, one.at_least) for one in self.spec.selections}
        for selection, heads in selected.items():
            if heads:
                # Both ideal patterns: the one that is not the heads' own is the control.
                for intervention in (*ABLATIONS, *((name, DOWNSTREAM[0]) for name in OTHER_INTERVENTIONS)):
                    yield selection, None, intervention, heads
        first = next(iter(selected.values()), [])
        for replicate in range(self.spec.replicates):
            name = stream_seed("ablate", self.arm.arm, self.seed, replicate)
            heads = layer_matched_random_heads(first, self.arm.model.n_layers, self.arm.model.n_heads, name)
            if heads:
                for intervention in ABLATIONS:
                    yield "random", replicate, intervention, heads


@torch.no_grad()
def clean_losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Return losses without any intervention [B T-1]."""
    return torch.cat([token_losses(model(chunk)[0], chunk) for chunk in tokens_BT.split(MAX_SEQUENCES_PER_PASS)])


def change_direction(
    losses_at: Callable[[int], Tensor], steps: Sequence[int], index: Tensor, window: tuple[float, float] | None
) -> Tensor | None:
    """Return the before-and-after vector [B]: how the window changed per-token losses, at length one.

    From the last checkpoint at or before the window's start to the first at or after its
    end; None without a window.
    """
    if window is None:
        return None
    before = max(step for step in steps if step <= window[0])
    after = min(step for step in steps if step >= window[1])
    change = at_index(losses_at(after), index) - at_index(losses_at(before), index)
    return change / change.norm()


def at_index(losses_BT1: Tensor, index: Tensor) -> Tensor:
    """Return each document's loss at its own fixed random token index [B]."""
    return losses_BT1.gather(1, index[:, None] - 1)[:, 0]
