"""What an arm has: metrics, ablations and tables, and the modules that declare them.

Stages find declarations by name, which no reader of imports can follow; so every job lists their
modules, in its manifest and in the inputs of its rule.
"""

from collections.abc import Iterable, Iterator, Mapping

from reinduce.config.declare import Ablation, Metric
from reinduce.config.find import find, find_all
from reinduce.config.job_specs import ArmSpec
from reinduce.config.metric_settings import MetricSettings
from reinduce.config.task_definition import TaskDefinition


def metrics_of_arm(
    arm: ArmSpec, task: TaskDefinition | type[TaskDefinition], settings: MetricSettings
) -> dict[str, Metric]:
    """Return the metrics of an arm, each after those it needs (see `applicable_metrics`)."""
    model = arm.model
    return applicable_metrics(task.evaluation_sets, model.n_layers, model.has_heads, arm.study, settings.metrics)


def ablations_of_arm(arm: ArmSpec, task: TaskDefinition | type[TaskDefinition]) -> dict[str, Ablation]:
    """Return the study's own ablations that an arm has."""
    declared = find_all("ablation", arm.study)
    return {name: one for name, one in declared.items() if one.evaluation_set in task.evaluation_sets}


HEAD_TABLES = ("ablations", "attributions")
"""Tables that only runs with attention heads have."""
LOSS_TABLES = ("index_losses", "token_losses", "loss_components", "series_trajectories")
"""Tables that only runs on tasks with held-out documents have."""


def unavailable_reason(table: str, arm: ArmSpec, task: TaskDefinition | type[TaskDefinition]) -> str | None:
    """Return why an arm's runs do not have a table; None if they have it."""
    sets = set(task.evaluation_sets)
    if table in HEAD_TABLES and not arm.model.has_heads:
        return "has no attention heads"
    if table == "ablations" and any(
        find("intervention", clamp["type"]).overwrites_logits for clamp in arm.model.clamps
    ):
        return "gets its logits from a clamp"
    if table == "ablations" and "heldout" not in sets and not ablations_of_arm(arm, task):
        return "is trained on a task without held-out documents, and its study declares no ablation"
    if table in LOSS_TABLES and "heldout" not in sets:
        return "is trained on a task without held-out documents"
    if table == "attributions" and not {"repeated", "random"} <= sets:
        return "is trained on a task without repeated sequences"
    return None


def modules_of_arm(
    stage: str, arm: ArmSpec, task: TaskDefinition | type[TaskDefinition], settings: MetricSettings
) -> list[str]:
    """Return the modules that declare what a stage uses of an arm.

    Args:
        stage: train, score, ablate or attribute.
        arm: the arm.
        task: its task.
        settings: how its checkpoints are measured.
    """
    modules = [task.module, *(find("intervention", clamp["type"]).module for clamp in arm.model.clamps)]
    if stage in ("score", "ablate"):
        metrics = metrics_of_arm(arm, task, settings).values()
        modules += [metric.module for metric in metrics if stage == "score" or is_ablated(metric)]
    if stage == "ablate":
        modules += [ablation.module for ablation in ablations_of_arm(arm, task).values()]
    return list(dict.fromkeys(modules))


def is_ablated(metric: Metric) -> bool:
    """Return whether sweeps over heads measure a metric."""
    return metric.token_weights is not None or metric.summand is not None


def applicable_metrics(
    sets: Iterable[str], layers: int, has_heads: bool, study: str, chosen: Iterable[str] | None = None
) -> dict[str, Metric]:
    """Return the metrics that a model on a task has, in an order in which each follows those it needs.

    Args:
        sets: names of the task's evaluation sets.
        layers: layers of the model.
        has_heads: whether it has attention heads.
        study: the arm's study, whose own metrics count beside the library's.
        chosen: names to choose from them, with what they need; None: all.

    Raises:
        ValueError: for a chosen metric that there is not, or that this model or task cannot have.
    """
    there = set(sets)
    known = find_all("metric", study)
    fits = {
        name: found
        for name, found in known.items()
        if found.level != "effect" and found.compute is not None and _fits(found, known, there, layers, has_heads)
    }
    if chosen is not None:
        fits = _with_needed(chosen, known, fits)
    return dict(_ordered(fits))


def _fits(found: Metric, known: Mapping[str, Metric], sets: set[str], layers: int, has_heads: bool) -> bool:
    if found.level == "run":
        # A curve that needs heads is empty for a model without; the run's metric is then null, not missing.
        return all(name in known and set(known[name].sets) <= sets for name in found.after)
    own = set(found.sets) <= sets and layers >= found.min_layers and (has_heads or not found.needs_heads)
    return own and all(name in known and _fits(known[name], known, sets, layers, has_heads) for name in found.after)


def _with_needed(chosen: Iterable[str], known: Mapping[str, Metric], fits: Mapping[str, Metric]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    waiting = list(chosen)
    while waiting:
        name = waiting.pop(0)
        if name not in known:
            raise ValueError(f"no metric {name!r}; there are: {', '.join(sorted(fits))}")
        if name not in fits:
            raise ValueError(f"metric {name!r} cannot be measured here: it needs {_needs(known[name])}")
        if name not in found:
            found[name] = fits[name]
            waiting += [other for other in fits[name].after if other in fits]
    return found


def _needs(found: Metric) -> str:
    parts = [f"the evaluation sets {', '.join(found.sets)}"] if found.sets else []
    parts += ["attention heads"] if found.needs_heads else []
    parts += [f"{found.min_layers} layers or more"] if found.min_layers > 1 else []
    return " and ".join(parts) or "other metrics that this arm lacks"


def _ordered(metrics: Mapping[str, Metric]) -> Iterator[tuple[str, Metric]]:
    placed: set[str] = set()

    def place(name: str) -> Iterator[tuple[str, Metric]]:
        if name in placed or name not in metrics:
            return
        placed.add(name)
        for needed in metrics[name].after:
            yield from place(needed)
        yield name, metrics[name]

    for name in metrics:
        yield from place(name)


def estimate_core_seconds(arm: ArmSpec) -> int:
    """Estimate how many seconds the training of one seed of a small model takes on one core."""
    model = arm.model
    width = model.n_layers * model.d_model * (4 + 2 * model.mlp_ratio) + model.vocab_size
    return round(arm.train.steps * arm.train.batch_size * model.n_ctx * model.d_model * width / 1e9) + 1
