"""All metrics of one checkpoint, as rows of the table `scores`."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from reinduce.config.declare import Metric
from reinduce.config.metric_settings import MetricSettings
from reinduce.metrics.inputs import ActivationCache, EvaluationSets, MetricInputs, halve
from reinduce.model.transformer import Transformer
from reinduce.score.passes import Pass, plan_passes, run_pass, serves


class CheckpointScorer:
    """Computes an arm's metrics, checkpoint by checkpoint."""

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        sets: EvaluationSets,
        settings: MetricSettings,
        losses_on: Iterable[str] = (),
    ):
        """Args:
        metrics: those of heads, layers and models, each after the ones it needs.
        sets: the task's evaluation sets.
        settings: how checkpoints are measured.
        losses_on: sets whose losses are wanted for their own sake.
        """
        self.metrics, self.sets, self.settings = metrics, sets, settings
        self.plan_at_ends = plan_passes(metrics.values())
        self.plan = plan_passes(metric for metric in metrics.values() if not metric.only_ends)
        for name in losses_on:
            for plan in (self.plan, self.plan_at_ends):
                plan.setdefault(name, {})["losses"] = None

    @torch.no_grad()
    def score(self, model: Transformer, is_end: bool, passes: Mapping[str, Pass]) -> Iterator[dict[str, Any]]:
        """Yield rows without the run's keys.

        Args:
            model: the checkpoint's model.
            is_end: whether this is the first or the last checkpoint.
            passes: what `run_passes` returned.
        """
        values: dict[str, Any] = {}
        for metric in self.metrics.values():
            if metric.only_ends and not is_end:
                continue
            for name in metric.evaluation_sets or (metric.evaluation_set,):
                inputs = self._inputs(metric, name, model, passes, values)
                label = f"{metric.name}:{name}" if metric.evaluation_sets else metric.name
                values[label], rows = _evaluate(metric, label, inputs)
                yield from rows
                if metric.halves and is_end:
                    for half, part in halve(len(inputs.tokens)).items():
                        yield from _evaluate(metric, f"{label}:{half}", _take(metric, inputs, part))[1]

    @torch.no_grad()
    def run_passes(self, model: Transformer, is_end: bool) -> dict[str, Pass]:
        """Run the model once over each evaluation set that a metric needs."""
        plan = self.plan_at_ends if is_end else self.plan
        return {name: run_pass(model, self.sets[name].tokens, needed) for name, needed in plan.items()}

    def _inputs(
        self,
        metric: Metric,
        name: str | None,
        model: Transformer,
        passes: Mapping[str, Pass],
        values: dict[str, Any],
    ) -> MetricInputs:
        inputs = MetricInputs(model, self.sets, self.settings, values=values)
        if name is not None:
            rows, found = slice(metric.examples), passes.get(name, Pass())
            inputs.tokens = self.sets[name].tokens[rows]
            inputs.losses = None if found.losses is None else found.losses[rows]
            declared = {site: value[rows] for site, value in found.cache.items() if serves(site, metric.sites)}
            inputs.cache = ActivationCache(metric.name, declared)
        return inputs


def _take(metric: Metric, inputs: MetricInputs, examples: slice) -> MetricInputs:
    """Return what a metric is computed from on some of its examples alone."""
    cache = ActivationCache(metric.name, {site: value[examples] for site, value in inputs.cache.items()})
    losses = None if inputs.losses is None else inputs.losses[examples]
    return dataclasses.replace(inputs, tokens=inputs.tokens[examples], losses=losses, cache=cache)


def _evaluate(metric: Metric, label: str, inputs: MetricInputs) -> tuple[Any, list[dict[str, Any]]]:
    """Return a metric's value as other metrics see it, and its rows."""
    facts, n = {"metric_version": metric.version}, 1 if inputs.tokens is None else len(inputs.tokens)
    if metric.level == "model":
        value = metric.compute(inputs)
        return value, [facts | {"metric": name} | row for name, row in _name_values(label, value, n)]
    layers = [metric.compute(inputs, layer) for layer in range(inputs.model.spec.n_layers)]
    rows = []
    for layer, found in enumerate(layers):
        for name, value in _suffixed(label, found):
            where = {"metric": name, "layer": layer, "n_items": n}
            if metric.level == "layer":
                rows.append(facts | where | {"value": value})
                continue
            heads = [None] * inputs.model.spec.n_heads if value is None else value.tolist()
            rows += (facts | where | {"head": head, "value": number} for head, number in enumerate(heads))
    return layers, rows


def _suffixed(label: str, found: Any) -> list[tuple[str, Any]]:
    if not isinstance(found, Mapping):
        return [(label, found)]
    return [(f"{label}:{suffix}" if suffix else label, value) for suffix, value in found.items()]


def _name_values(label: str, found: Any, n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in _suffixed(label, found):
        number, counted = value if isinstance(value, tuple) else (value, n)
        yield name, {"value": number, "n_items": counted}
