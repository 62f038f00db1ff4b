"""From YAML files to what the workflow runs on, or to all that is wrong with them at once."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reinduce import studies
from reinduce.config import yaml
from reinduce.config.arm_contents import metrics_of_arm
from reinduce.config.declare import DeclarationError, find, find_all
from reinduce.config.layout import GIVEN, SERIES_TABLES, TABLES, bound_reads
from reinduce.config.resolved import Resolved, Run
from reinduce.config.specs import ArmSpec, ModelSpec, TrainSpec, from_dict
from reinduce.config.task_definition import TaskDefinition
from reinduce.config.tree import (
    Arm,
    Budget,
    Claim,
    Cluster,
    Config,
    Replacement,
    Scale,
    Study,
    StudySize,
    TaskSize,
    Variant,
)
from reinduce.config.validate import ConfigError, named, note_unknown, read, validated, without_faults

STUDIES = "workflow/studies"
"""The project's own folder of studies."""
SHAPE = ("d_model", "heads", "vocabulary", "features", "positions")
"""What two models must share for one to take the other's weights."""


def load(values: Mapping = MappingProxyType({}), root: Path = Path()) -> Resolved:
    """Resolve config.yaml, with `values` (those of the command line) laid over it.

    Raises ConfigError with all problems of all files.
    """
    problems: list[str] = []
    written = read(root, "config.yaml", problems)
    if problems:
        raise ConfigError(problems)
    given = _laid_over(written, values)
    config = validated(Config, given, "config.yaml", problems)
    if config is None:
        # Go on without what is wrong, so that the rest is checked too.
        config = validated(Config, without_faults(Config, given), "config.yaml", [])
    if config is None:
        raise ConfigError(problems)
    scale = named(Scale, root, "workflow/scales/{}.yaml", config.scale, "config.yaml: scale", problems)
    folders = _study_folders(root, config, problems)
    found = {
        key: named(Study, root, f"{folders[key]}/study.yaml", key, "config.yaml: studies", problems)
        for key in dict.fromkeys(config.studies)
    }
    found = {key: study for key, study in found.items() if study is not None}
    tasks = _declared_tasks(found, problems)
    note_unknown(config.tasks, tasks, "config.yaml: tasks", problems)
    note_unknown(config.overrides, found, "config.yaml: overrides", problems)
    for key, study in found.items():
        note_unknown(config.overrides.get(key, {}), study.arms, f"config.yaml: overrides.{key}", problems)
    if scale is None:
        raise ConfigError(problems)

    resolved = Resolved(config, Path(config.results or scale.results), measure=scale.measure, ablate=scale.ablate)
    resolved.studies, resolved.folders = found, {key: folders[key].format(key) for key in found}
    cluster = {**scale.cluster.model_dump(), **config.cluster}
    resolved.cluster = validated(Cluster, cluster, "config.yaml: cluster", problems)
    _check_selections(resolved, problems)
    for key, study in found.items():
        _check_figures(root, resolved.folders[key], study, problems)
        _add_runs(resolved, key, study, scale, root, problems)
    for key in found:
        _check_reads(resolved, key, problems)
        _add_claims(resolved, key, root, problems)
    if problems:
        raise ConfigError(problems)
    return resolved


def _laid_over(below: Any, above: Any) -> Any:
    """Mappings merged key by key; of anything else, what lies above."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}
    return above


def _study_folders(root: Path, config: Config, problems: list[str]) -> dict[str, str]:
    """Return the pattern of each study's folder, from the project's root, and let its code be imported."""
    for folder in config.study_folders:
        if not (root / folder).is_dir():
            problems.append(f"config.yaml: study_folders: there is no folder {folder!r}; give one that exists")
    studies.add_folders(root / folder for folder in config.study_folders)
    patterns = [f"{Path(folder).as_posix()}/{{}}" for folder in (STUDIES, *config.study_folders)]
    found = {}
    for key in config.studies:
        there = [pattern for pattern in patterns if (root / pattern.format(key) / "study.yaml").is_file()]
        if len(there) > 1:
            folders = " and ".join(pattern.format(key) for pattern in there)
            problems.append(f"config.yaml: studies: {key!r} lies in {folders}; rename one")
        found[key] = there[0] if there else patterns[0]
    return found


def _declared_tasks(found: Mapping[str, Study], problems: list[str]) -> dict[str, type[TaskDefinition]]:
    """Return every task that the library and the studies declare, by its qualified name."""
    tasks: dict[str, type[TaskDefinition]] = {}
    for key in ("", *found):
        try:
            tasks |= {task.qualified_name(): task for task in find_all("task", key).values()}
            for kind in ("metric", "intervention", "ablation"):
                find_all(kind, key)
        except DeclarationError as error:
            problems.append(f"study {key}: {error}" if key else str(error))
    return tasks


def _check_selections(resolved: Resolved, problems: list[str]) -> None:
    known = [name for name, metric in find_all("metric").items() if metric.level == "head"]
    where = f"workflow/scales/{resolved.config.scale}.yaml: ablate.selections"
    note_unknown([one.metric for one in resolved.ablate.selections], known, where, problems)


def _check_figures(root: Path, folder: str, study: Study, problems: list[str]) -> None:
    for figure in study.figures:
        for what, ending in (("notebook", ".py"), ("caption", ".rst")):
            name = f"figures/{figure}{ending}"
            if not (root / folder / name).is_file():
                problems.append(
                    f"{folder}/study.yaml: figures.{figure}: its {what} {name} is not in the study's folder"
                )


def _check_reads(resolved: Resolved, key: str, problems: list[str]) -> None:
    for name, figure in resolved.studies[key].figures.items():
        where = f"{resolved.folders[key]}/study.yaml: figures.{name}.reads"
        note_unknown(figure.reads, resolved.studies, where, problems)
        for study, arms in (figure.reads or {key: list(resolved.studies[key].arms)}).items():
            if study in resolved.studies:
                note_unknown(arms, resolved.studies[study].arms, f"{where}.{study}", problems)
            _without(resolved, figure.tables, [f"{study}/{arm}" for arm in arms], f"{where}.{study}", problems)


def _without(resolved: Resolved, tables: Iterable[str], arms: Iterable[str], where: str, problems: list[str]) -> None:
    """Notes the arms that do not have a table which is read of them."""
    for name in arms:
        run = resolved.runs.get(name)
        reasons: dict[str, list[str]] = {}
        for table in tables:
            reason = run.unavailable_reason(table) if run is not None else None
            if reason:
                reasons.setdefault(reason, []).append(table)
        problems += [f"{where}: {name} {why}, and so no {' or '.join(lacking)}" for why, lacking in reasons.items()]


def _add_runs(resolved: Resolved, key: str, study: Study, scale: Scale, root: Path, problems: list[str]) -> None:
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
    _check_donors(resolved, key, study, problems)


def _tasks_of(key: str) -> dict[str, type[TaskDefinition]]:
    """Return the tasks that a study may name, by the names it uses; none if its code has faults."""
    try:
        return find_all("task", key)
    except DeclarationError:
        return find_all("task")


def _check_donors(resolved: Resolved, key: str, study: Study, problems: list[str]) -> None:
    """Notes arms that take their first weights, or a graft, from an arm that is not there or of another shape."""
    where = f"{resolved.folders[key]}/study.yaml: arms"
    for name, arm in study.arms.items():
        givers = {"starts_as": arm.starts_as, "graft": arm.graft and arm.graft.arm}
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
            if part == "graft" and arm.graft.layer >= runs[1].arm.model.layers:
                problems.append(f"{where}.{name}.graft: {giver} has no layer {arm.graft.layer}")
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
    layers: dict[str, Budget | Arm | Replacement] = {
        f"study.yaml scales.{scale}.tasks.{budget}": size.tasks[budget],
        f"study.yaml arms.{arm_name}": arm,
        f"study.yaml scales.{scale}.arms.{arm_name}": size.arms.get(arm_name, Replacement()),
        f"config.yaml overrides.{key}.{arm_name}": resolved.config.overrides.get(key, {}).get(arm_name, Replacement()),
    }
    # Where the task itself is wrong, an arm's own settings are checked all the same.
    shared = {"vocabulary": 2, "context": 2} if task is None else task.model_fields()
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
    seeds = [layer.seeds for layer in layers.values() if getattr(layer, "seeds", None) is not None][-1]
    settings = dataclasses.replace(resolved.measure, metrics=arm.metrics)
    where = f"{resolved.folders[key]}/study.yaml: arms.{arm_name}"
    try:
        spec = ArmSpec(study=key, arm=arm_name, task=data, starts_as=arm.starts_as, graft=arm.graft, **specs)
        _check_clamps(spec.model)
        metrics_of_arm(spec, task, settings)
    except DeclarationError:
        # Code that cannot be used is reported once for its study, not for each of its arms.
        return
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return
    first = resolved.config.first_seed
    resolved.runs[name] = Run(spec, range(first, first + seeds), task, settings)


def _resolve_clamps(key: str, clamps: Any, where: str, problems: list[str]) -> Any:
    """Return clamps as specifications hold them: types by their qualified names, and every field."""
    if not isinstance(clamps, list) or not all(isinstance(clamp, Mapping) for clamp in clamps):
        problems.append(f"{where}: clamps: a list of mappings is expected, such as [{{type: zero_head, layer: 0}}]")
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
    budget: Budget,
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
    context = task.spec.context
    ranges = [(f"pairs: {pair.name}", (*pair.early, *pair.late)) for pair in resolved.measure.pairs]
    ranges.append(("derivative", resolved.measure.derivative))
    found = [
        f"{where}: measure.{what} reaches index {max(indices)}, the last of task {name} is {context - 1}"
        for what, indices in ranges
        if max(indices) >= context
    ]
    if resolved.ablate.examples > examples:
        found.append(
            f"{where}: ablate.examples is {resolved.ablate.examples}, but task {name} has only "
            f"{examples} held-out examples"
        )
    return found


def _add_claims(resolved: Resolved, key: str, root: Path, problems: list[str]) -> None:
    where = f"{resolved.folders[key]}/claims.yaml"
    listed = read(root, where, problems) if (root / where).is_file() else []
    study = resolved.studies[key]
    for place, values in enumerate(listed or []):
        label = values.get("id", f"entry {place + 1}") if isinstance(values, dict) else f"entry {place + 1}"
        claim = validated(Claim, values, f"{where}: {label}", problems)
        if claim is None:
            continue
        name = f"{key}.{claim.id}"
        if name in resolved.claims:
            problems.append(f"{where}: {label}: given twice")
        if claim.figure not in study.figures:
            problems.append(f"{where}: {label}: figure: no {claim.figure!r}; there are: {', '.join(study.figures)}")
        seeds = _seeds_read(resolved, key, claim, f"{where}: {label}", problems)
        plain = {"study": key, "claim": claim.id, "scale": resolved.config.scale, "seeds": seeds}
        resolved.claims[name] = plain | claim.model_dump(by_alias=True, exclude_none=True)


def _seeds_read(resolved: Resolved, key: str, claim: Claim, where: str, problems: list[str]) -> dict[str, list[int]]:
    """'study/arm' → seeds of every arm that a claim and its control read; of all arms for tables of a whole task."""
    seeds = {}
    for bindings in (claim.with_, claim.with_ | claim.control.with_):
        try:
            reads = bound_reads(claim.reads, key, bindings)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        note_unknown(reads, TABLES, f"{where}: reads", problems)
        for table, names in reads.items():
            read = _readable(resolved.studies, table)
            note_unknown(names, read, f"{where}: reads.{table}", problems)
            # An arm whose own settings are wrong has been told of already.
            arms = [arm for name in names for arm in read.get(name, []) if arm in resolved.runs]
            _without(resolved, [table], arms, f"{where}: reads.{table}", problems)
            seeds |= {arm: list(resolved.runs[arm].seeds) for arm in arms}
    return seeds


def _readable(studies: Mapping[str, Study], table: str) -> dict[str, list[str]]:
    """What a claim may read of a table, 'study/arm' or 'study/task' → the arms that this takes."""
    found: dict[str, list[str]] = {}
    for key, study in studies.items():
        for name, arm in study.arms.items():
            found.setdefault(f"{key}/{arm.task if table in SERIES_TABLES else name}", []).append(f"{key}/{name}")
    return found


def as_given(results: Path | None, root: Path = Path()) -> tuple[Resolved, dict]:
    """The configuration as it resolves now, with what the command line said when `results` were last made; and that.

    Raises ValueError if there are no results.
    """
    folder = root / (load(root=root).results if results is None else results)
    if not (folder / GIVEN).is_file():
        raise ValueError(f"{folder}: no results are here ({GIVEN} is missing); make some, or give --results")
    given = json.loads((folder / GIVEN).read_text())
    return load(yaml.typed(given), root), given
