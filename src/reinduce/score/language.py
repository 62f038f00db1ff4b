"""What is measured of runs on tasks of language: losses along documents, heads, contexts."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from reinduce.config.specs import ArmSpec, MeasureSpec
from reinduce.model.transformer import Transformer
from reinduce.score import losses, trajectory
from reinduce.score.checkpoint import head_scores, model_scores, read_frozen_sets, score_rows, version
from reinduce.score.contexts import context_scores


class Language:
    """Measures of one run, checkpoint by checkpoint, and then of the whole."""

    def __init__(self, folder: Path, arm: ArmSpec, spec: MeasureSpec):
        self.arm, self.spec, self.sets = arm, spec, read_frozen_sets(folder)
        copied = self.sets.copyable
        self.classes = {"all": copied | True, "copyable": copied, "other": ~copied}
        self.best_prefix_matching: trajectory.Curve = []
        self.curves: dict[str, trajectory.Curve] = {}
        self.tables: dict[str, list[dict]] = {"index_losses": [], "token_losses": []}

    def measure(self, step: int, model: Transformer) -> Iterator[dict]:
        """Rows of `scores` of a checkpoint, without the run's keys; steps come in order."""
        heldout = losses.heldout_losses(model, self.sets.heldout)
        repeated = losses.heldout_losses(model, self.sets.repeated)
        per_head = head_scores(model, self.sets)
        of_model = model_scores(heldout, repeated, self.sets, self.spec)
        if per_head:
            best = max(layer.max().item() for layer in per_head["prefix_matching"])
            self.best_prefix_matching.append((step, best))
        for metric, value in of_model.items():
            self.curves.setdefault(metric, []).append((step, value))
        self._keep(step, heldout)
        yield from score_rows(per_head, of_model, self.arm.model.heads, self.sets)
        if self.sets.contexts is not None:
            swapped = context_scores(model, self.sets.heldout, heldout, self.sets.contexts, self.spec.pairs[0])
            for metric, (value, n) in swapped.items():
                yield {"metric": metric, "metric_version": version(metric), "value": value, "n": n}

    def _keep(self, step: int, heldout_BT1: Tensor) -> None:
        self.tables["index_losses"] += (
            {"step": step, "eval_set": "heldout", "token_class": name, "index": index, "loss": loss, "n": n}
            for name, index, loss, n in losses.by_index(heldout_BT1, self.classes)
        )
        index = self.sets.loss_index
        chosen = heldout_BT1.gather(1, index[:, None] - 1)[:, 0]
        self.tables["token_losses"] += (
            {"step": step, "example": example, "index": i, "loss": loss}
            for example, (i, loss) in enumerate(zip(index.tolist(), chosen.tolist(), strict=True))
        )

    def trajectories(self) -> dict[str, float | None]:
        """Measures of the whole run."""
        pairs = [pair.name for pair in self.spec.pairs]
        return trajectory.measures(self.curves, self.best_prefix_matching, pairs, self.spec.induction_threshold)
