"""What an arm has: metrics, ablations and tables, and the modules that declare them.

Stages find declarations by name, which no reader of imports can follow; so every job lists their
modules, in its manifest and in the inputs of its rule.
"""

from reinduce.config.declare import Ablation, Metric, applicable_metrics, find, find_all
from reinduce.config.job_specs import ArmSpec, MetricSettings
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
