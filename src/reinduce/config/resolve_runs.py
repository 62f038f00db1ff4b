"""Arms, tasks and clamps of the studies, resolved at a scale; what is wrong with them is noted."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reinduce.config.arm_contents import estimate_core_seconds, metrics_of_arm
from reinduce.config.declare import DeclarationError
from reinduce.config.find import find, find_all
from reinduce.config.job_specs import ArmSpec, ModelSpec, TrainSpec, from_dict
from reinduce.config.resolved import Resolved, Run
from reinduce.config.task_definition import TaskDefinition
from reinduce.config.user_config import (
    Arm,
    Config,
    Override,
    Scale,
    Study,
    StudySize,
    TaskSize,
    TrainingDefaults,
    Variant,
)
from reinduce.config.validate import note_unknown, validated

SHAPE = ("d_model", "n_heads", "vocab_size", "d_features", "positions")
"""What two models must share for one to take the other's weights."""


def add_runs(resolved: Resolved, key: str, study: Study, scale: Scale, root: Path, problems: list[str]) -> None:
    where = f"{resolved.folders[key]}/study.yaml"
    name = resolved.config.scale
    if name not in study.scales:
        problems.append(f"{where}: scales: nothing about scale {name!r}; there are: {', '.join(study.scales)}")
        return
    size = study.scales[name]
    note_unknown(size.arms, study.arms, f"{where}: scales.{name}.arms", problems)
    declared = _tasks_of(key)
    note_unknown(size.tasks, [*declared, *study.tasks], f"{where}: scales.{name}.tasks", problems)
    for arm_name, arm in study.arms.items():
        variant = study.tasks.get(arm.task)
        kind = arm.task if variant is None else variant.of
        if kind not in declared:
            known = ", ".join([*declared, *study.tasks])
            at = f"arms.{arm_name}.task" if variant is None else f"tasks.{arm.task}.of"
            problems.append(f"{where}: {at}: no task {kind!r}; there are: {known}")
            continue
        if arm.task not in size.tasks and kind not in size.tasks:
            problems.append(f"{where}: scales.{name}.tasks: nothing about {arm.task}, the task of arm {arm_name}")
            continue
        budget = size.tasks[arm.task if arm.task in size.tasks else kind]
        data, task = _add_task(resolved, key, arm.task, variant, declared[kind], budget, scale, root, problems)
        _add_run(resolved, f"{key}/{arm_name}", arm, size, (data, kind), task, problems)
    _check_graft_sources(resolved, key, study, problems)


def _tasks_of(key: str) -> dict[str, type[TaskDefinition]]:
    """Return the tasks that a study may name, by the names it uses; none if its code has faults."""
    try:
        return find_all("task", key)
    except DeclarationError:
        return find_all("task")


def _check_graft_sources(resolved: Resolved, key: str, study: Study, problems: list[str]) -> None:
    """Notes arms that take their first weights, or a graft, from an arm that is not there or of another shape."""
    where = f"{resolved.folders[key]}/study.yaml: arms"
    for name, arm in study.arms.items():
        givers = {"init_from_arm": arm.init_from_arm, "graft": arm.graft.arm if arm.graft else None}
        for part, giver in givers.items():
            if giver is None:
                continue
            note_unknown([giver], study.arms, f"{where}.{name}.{part}", problems)
            runs = [resolved.runs.get(f"{key}/{one}") for one in (name, giver)]
            if None in runs:
                continue
            shapes = [{f: getattr(run.arm.model, f) for f in SHAPE} for run in runs]
            for f in SHAPE:
                if shapes[0][f] != shapes[1][f]:
                    problems.append(f"{where}.{name}.{part}: its {f} is {shapes[0][f]}, that of {giver} {shapes[1][f]}")
            if part == "graft" and arm.graft.layer >= runs[1].arm.model.n_layers:
                problems.append(f"{where}.{name}.graft: {giver} has no layer {arm.graft.layer}")
            offset = arm.graft.seed_offset if part == "graft" else 0
            blocks = [block for block in runs[1].blocks if offset and offset % len(block) == 0]
            if blocks:
                problems.append(
                    f"{where}.{name}.graft: of {giver}'s seeds {list(blocks[0])}, which come together, each would be"
                    f" its own neighbour at a distance of {offset}: give {giver} more seeds at that look"
                )
            if part == "graft" and study.arms[giver].graft:
                problems.append(f"{where}.{name}.graft: {giver} is grafted itself; take another arm")


def _add_run(
    resolved: Resolved,
    name: str,
    arm: Arm,
    size: StudySize,
    names: tuple[str, str],
    task: TaskDefinition | None,
    problems: list[str],
) -> None:
    """`names`: of the task's data, and of the task that it is one of."""
    key, arm_name = name.split("/")
    data, kind = names
    scale = resolved.config.scale
    budget = arm.task if arm.task in size.tasks else kind
    layers: dict[str, TrainingDefaults | Arm | Override] = {
        f"study.yaml scales.{scale}.tasks.{budget}": size.tasks[budget],
        f"study.yaml arms.{arm_name}": arm,
        f"study.yaml scales.{scale}.arms.{arm_name}": size.arms.get(arm_name, Override()),
        f"config.yaml overrides.{key}.{arm_name}": resolved.config.overrides.get(key, {}).get(arm_name, Override()),
    }
    # Where the task itself is wrong, an arm's own settings are checked all the same.
    shared = {"vocab_size": 2, "n_ctx": 2} if task is None else task.model_fields()
    specs = {}
    for part, of, fixed in (("model", ModelSpec, shared), ("train", TrainSpec, {})):
        origin = {f: f"{where}.{part}" for where, layer in layers.items() for f in getattr(layer, part)}
        merged = {f: value for layer in layers.values() for f, value in getattr(layer, part).items()}
        if merged.get("clamps"):
            merged["clamps"] = _resolve_clamps(key, merged["clamps"], f"{name}: {part}", problems)
        twice = sorted(set(merged) & set(fixed))
        if twice:
            problems.append(f"{name}: {part}: {', '.join(twice)} come from the task; set them under tasks.{kind}")
            continue
        specs[part] = validated(of, merged | fixed, f"{name}: {part}", problems, origin)
    if None in specs.values() or len(specs) < 2 or task is None:
        return
    seeds = [layer.seeds for layer in layers.values() if not isinstance(layer, Arm) and layer.seeds is not None][-1]
    settings = dataclasses.replace(resolved.metrics, metrics=arm.metrics)
    where = f"{resolved.folders[key]}/study.yaml: arms.{arm_name}"
    try:
        spec = ArmSpec(study=key, arm=arm_name, task=data, init_from_arm=arm.init_from_arm, graft=arm.graft, **specs)
        _check_clamps(spec.model)
        metrics_of_arm(spec, task, settings)
    except DeclarationError:
        # Code that cannot be used is reported once for its study, not for each of its arms.
        return
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return
    first, *further = _divide_seeds(spec, seeds, resolved.config)
    resolved.runs[name] = Run(spec, first, task, settings, tuple(further))


def _divide_seeds(arm: ArmSpec, counts: int | list[int], config: Config) -> list[range]:
    """Return the seeds that each look adds, within the budget; those declared for the first look are always had."""
    declared = [counts] if isinstance(counts, int) else counts
    wanted = [math.ceil(count * config.seed_factor) for count in declared]
    budget = config.budget
    most = math.inf if budget.seeds is None else budget.seeds
    if budget.hours is not None:
        most = min(most, budget.hours * 3600 // estimate_core_seconds(arm))
    first = min(wanted[0], max(declared[0], int(min(most, wanted[0]))))
    ends = [first, *(count for count in wanted[1:] if count <= most)][: config.looks]
    start = config.first_seed
    return [range(start + low, start + high) for low, high in itertools.pairwise([0, *ends])]


def _resolve_clamps(key: str, clamps: Any, where: str, problems: list[str]) -> Any:
    """Return clamps as specifications hold them: types by their qualified names, and every field."""
    if not isinstance(clamps, list) or not all(isinstance(clamp, Mapping) for clamp in clamps):
        problems.append(f"{where}: clamps: a list of mappings is expected, such as [{{type: <name>, layer: 0}}]")
        return []
    try:
        known = find_all("intervention", key)
    except DeclarationError:
        return []
    found = []
    for place, clamp in enumerate(clamps):
        here = f"{where}: clamps.{place}"
        if clamp.get("type") not in known:
            problems.append(f"{here}: type must be one of {', '.join(known)}, not {clamp.get('type')!r}")
            continue
        kind = known[clamp["type"]]
        values = {name: value for name, value in clamp.items() if name != "type"}
        built = validated(kind, values, here, problems)
        found += [] if built is None else [built.content()]
    return found


def _check_clamps(spec: ModelSpec) -> None:
    """Raise ValueError if a clamp does not fit its model."""
    for content in spec.clamps:
        kind = find("intervention", content["type"])
        try:
            from_dict(kind, {name: value for name, value in content.items() if name != "type"}).check(spec)
        except ValueError as error:
            raise ValueError(f"model: clamps: {error}") from None


def _add_task(
    resolved: Resolved,
    key: str,
    name: str,
    variant: Variant | None,
    definition: type[TaskDefinition],
    budget: TrainingDefaults,
    scale: Scale,
    root: Path,
    problems: list[str],
) -> tuple[str, TaskDefinition | None]:
    """Resolve a task at this scale, and note it in `resolved`.

    Fields come from the scale, then from the study's own sizes, then from config.yaml, then from a variant.

    Returns:
        The name of its data folder, and the task; None if its configuration is wrong.
    """
    scale_name = resolved.config.scale
    size = scale.tasks.get(definition.qualified_name(), TaskSize(spec={}, evaluation={}))
    shared = variant is None and not (definition.owner or budget.spec or budget.evaluation)
    data = name if shared else f"{key}.{name}"
    if data in resolved.tasks:
        return data, resolved.tasks[data]
    study_file = f"{resolved.folders[key]}/study.yaml"
    layers = {
        f"workflow/scales/{scale_name}.yaml tasks.{definition.name}.spec": size.spec,
        f"{study_file} scales.{scale_name}.tasks.{definition.name}.spec": budget.spec,
        f"config.yaml tasks.{definition.qualified_name()}": resolved.config.tasks.get(definition.qualified_name(), {}),
        f"{study_file} tasks.{name}": variant.spec if variant else {},
    }
    origin = {field: where for where, values in layers.items() for field in values}
    merged = {field: value for values in layers.values() for field, value in values.items()}
    where = f"workflow/scales/{scale_name}.yaml" if not definition.owner else study_file
    spec = validated(definition.Spec, merged, f"task {data}", problems, origin)
    sizes = validated(
        definition.Sizes, {**size.evaluation, **budget.evaluation}, f"{where}: tasks.{name}.evaluation", problems
    )
    resolved.tasks[data] = None
    if spec is None or sizes is None:
        return data, None
    path = getattr(spec, "path", "")
    if path and not (root / path).exists():
        problems.append(f"task {data}: path: there is no {path!r}; give a path that exists (set in {origin['path']})")
    try:
        task = definition(spec, sizes)
    except ValueError as error:
        problems.append(f"task {data}: {error}")
        return data, None
    problems += _beyond(resolved, task, f"workflow/scales/{scale_name}.yaml", data)
    resolved.tasks[data] = task
    return data, task


def _beyond(resolved: Resolved, task: TaskDefinition, where: str, name: str) -> list[str]:
    """Return what measuring needs of held-out documents beyond the tokens or examples that a task has."""
    examples = task.set_sizes().get("heldout")
    if examples is None:
        return []
    context = task.spec.n_ctx
    ranges: list[tuple[str, tuple[int, ...]]] = [
        (f"icl_position_ranges: {pair.name}", (*pair.early, *pair.late))
        for pair in resolved.metrics.icl_position_ranges
    ]
    ranges.append(("loss_slope_positions", resolved.metrics.loss_slope_positions))
    found = [
        f"{where}: metrics.{what} reaches index {max(indices)}, the last of task {name} is {context - 1}"
        for what, indices in ranges
        if max(indices) >= context
    ]
    if resolved.ablate.examples > examples:
        found.append(
            f"{where}: ablate.examples is {resolved.ablate.examples}, but task {name} has only "
            f"{examples} held-out examples"
        )
    return found
