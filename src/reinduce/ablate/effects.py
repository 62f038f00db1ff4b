"""What an ablation does to a run's losses: metrics that are sums over the tokens of held-out documents.

Shape suffixes: B document, T1 predicted token, C copy of the model, M metric.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from reinduce.config.declare import Metric
from reinduce.config.metric_settings import MetricSettings
from reinduce.metrics.inputs import EvaluationSets
from reinduce.metrics.of_stages import BEFORE_AFTER


class AblationMetrics:
    """Metrics of ablated copies of a model, on some held-out documents."""

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        sets: EvaluationSets,
        settings: MetricSettings,
        documents: slice,
        direction_B: Tensor | None,
    ):
        """Args:
        metrics: the arm's metrics; those that ablations measure count.
        sets: the task's evaluation sets.
        settings: how checkpoints are measured.
        documents: the held-out documents that count.
        direction_B: the direction in which losses change, an entry a document; None: not measured.
        """
        heldout = sets["heldout"]
        tokens_BT, index_B = heldout.tokens[documents], heldout.column("loss_index")[documents]
        self.sets, self.documents, self.count = sets, documents, len(tokens_BT)
        weights: dict[str, Tensor | None] = {}
        self.versions = {name: metric.version for name, metric in metrics.items()}
        for name, metric in metrics.items():
            if metric.token_weights is not None:
                weights[name] = metric.token_weights(tokens_BT, settings)
        weights[BEFORE_AFTER.name], self.versions[BEFORE_AFTER.name] = None, BEFORE_AFTER.version
        if direction_B is not None:
            weights[BEFORE_AFTER.name] = torch.zeros(
                (len(tokens_BT), tokens_BT.shape[1] - 1), dtype=torch.float64
            ).scatter_(1, index_B[:, None] - 1, direction_B[:, None].double())
        self.unmeasured = [name for name, weight in weights.items() if weight is None]
        self.weighted = [name for name in weights if name not in self.unmeasured]
        self.weights_MBT1 = torch.stack([weights[name] for name in self.weighted]) if self.weighted else None
        self.names: list[str] = []
        self.summed = {name: metric for name, metric in metrics.items() if metric.summand is not None}

    def measure(self, losses_CBT1: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return what some documents contribute to each metric [C M], from copies' losses on them.

        A metric of all documents is the sum over parts of them. The metrics' names are then in `names`.
        """
        names, parts = [*self.weighted], []
        if self.weights_MBT1 is not None:
            parts.append(losses_CBT1.flatten(1).double() @ self.weights_MBT1[:, rows].flatten(1).T)
        for name, metric in self.summed.items():
            for suffix, part_C in metric.summand(losses_CBT1, self.sets, self.documents, rows).items():
                names.append(f"{name}:{suffix}" if suffix else name)
                parts.append(part_C[:, None])
        self.names = names
        return torch.cat(parts, dim=1) if parts else losses_CBT1.new_zeros(len(losses_CBT1), 0)

    def rows(self, values_M: Tensor, baseline_M: Tensor) -> Iterator[dict[str, Any]]:
        """Yield metric, value, baseline; null where there is nothing to measure."""
        facts = {"n_items": self.count}
        for name, value, before in zip(self.names, values_M.tolist(), baseline_M.tolist(), strict=True):
            version = self.versions[name.split(":")[0]]
            if name == BEFORE_AFTER.name:
                value, before = value - before, 0.0
            yield facts | {"metric": name, "metric_version": version, "value": value, "baseline": before}
        for name in self.unmeasured:
            yield facts | {"metric": name, "metric_version": self.versions[name], "value": None, "baseline": None}
