"""From YAML files to what the workflow runs on, or to all that is wrong with them at once."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reinduce.config import yaml
from reinduce.config.layout import GIVEN, SERIES_TABLES, TABLES, bound_reads, why_without
from reinduce.config.resolved import Resolved, Run
from reinduce.config.specs import ArmSpec, ModelSpec, TrainSpec
from reinduce.config.tree import Arm, Budget, Claim, Cluster, Config, Replacement, Scale, Study, StudySize, Tolerance
from reinduce.config.validate import ConfigError, named, note_unknown, read, validated, without_faults
from reinduce.task import TASKS, Task
from reinduce.task.specs import EvaluationSpec

SHAPE = ("d_model", "heads", "vocabulary", "features", "positions")
"""What two models must share for one to take the other's weights."""

TOLERANCES = "workflow/tolerances.yaml"


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
    studies = {
        key: named(Study, root, "workflow/studies/{}/study.yaml", key, "config.yaml: studies", problems)
        for key in dict.fromkeys(config.studies)
    }
    note_unknown(config.tasks, TASKS, "config.yaml: tasks", problems)
    found = {key: study for key, study in studies.items() if study is not None}
    note_unknown(config.overrides, found, "config.yaml: overrides", problems)
    for key, study in found.items():
        note_unknown(config.overrides.get(key, {}), study.arms, f"config.yaml: overrides.{key}", problems)
    if scale is None:
        raise ConfigError(problems)

    resolved = Resolved(config, Path(config.results or scale.results), measure=scale.measure, ablate=scale.ablate)
    resolved.studies = found
    cluster = {**scale.cluster.model_dump(), **config.cluster}
    resolved.cluster = validated(Cluster, cluster, "config.yaml: cluster", problems)
    for key, study in found.items():
        _check_figures(root, key, study, problems)
        _add_runs(resolved, key, study, scale, root, problems)
    for key in found:
        _check_reads(resolved, key, problems)
        _add_claims(resolved, key, root, problems)
    if problems:
        raise ConfigError(problems)
    return resolved


def tolerances(root: Path = Path()) -> list[Tolerance]:
    """What workflow/tolerances.yaml allows, in its order; the first that fits a metric counts. Raises ConfigError."""
    problems: list[str] = []
    written = read(root, TOLERANCES, problems)
    found = validated(list[Tolerance], written, TOLERANCES, problems)
    if problems:
        raise ConfigError(problems)
    return found


def _laid_over(below: Any, above: Any) -> Any:
    """Mappings merged key by key; of anything else, what lies above."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}
    return above


def _check_figures(root: Path, key: str, study: Study, problems: list[str]) -> None:
    folder = f"workflow/studies/{key}"
    for figure in study.figures:
        for what, ending in (("notebook", ".py"), ("caption", ".rst")):
            if not (root / folder / f"{figure}{ending}").is_file():
                problems.append(f"{folder}/study.yaml: figures.{figure}: its {what} {figure}{ending} is not beside it")


def _check_reads(resolved: Resolved, key: str, problems: list[str]) -> None:
    for name, figure in resolved.studies[key].figures.items():
        where = f"workflow/studies/{key}/study.yaml: figures.{name}.reads"
        note_unknown(figure.reads, resolved.studies, where, problems)
        for study, arms in (figure.reads or {key: list(resolved.studies[key].arms)}).items():
            if study in resolved.studies:
                note_unknown(arms, resolved.studies[study].arms, f"{where}.{study}", problems)
            _without(resolved, figure.tables, [f"{study}/{arm}" for arm in arms], f"{where}.{study}", problems)


def _without(resolved: Resolved, tables: Iterable[str], arms: Iterable[str], where: str, problems: list[str]) -> None:
    """Notes the arms that do not have a table which is read of them."""
    for name in arms:
        arm = resolved.runs[name].arm if name in resolved.runs else None
        reasons: dict[str, list[str]] = {}
        for table in tables:
            reason = why_without(table, arm) if arm is not None else None
            if reason:
                reasons.setdefault(reason, []).append(table)
        problems += [f"{where}: {name} {why}, and so no {' or '.join(lacking)}" for why, lacking in reasons.items()]


def _add_runs(resolved: Resolved, key: str, study: Study, scale: Scale, root: Path, problems: list[str]) -> None:
    where = f"workflow/studies/{key}/study.yaml"
    name = resolved.config.scale
    if name not in study.scales:
        problems.append(f"{where}: scales: nothing about scale {name!r}; there are: {', '.join(study.scales)}")
        return
    size = study.scales[name]
    note_unknown(size.arms, study.arms, f"{where}: scales.{name}.arms", problems)
    for arm_name, arm in study.arms.items():
        variant = study.tasks.get(arm.task)
        kind = arm.task if variant is None else variant.of
        if kind not in scale.tasks:
            known = ", ".join([*scale.tasks, *study.tasks])
            at = f"arms.{arm_name}.task" if variant is None else f"tasks.{arm.task}.of"
            problems.append(f"{where}: {at}: no task {kind!r}; there are: {known}")
            continue
        if arm.task not in size.tasks and kind not in size.tasks:
            problems.append(f"{where}: scales.{name}.tasks: nothing about {arm.task}, the task of arm {arm_name}")
            continue
        data = kind if variant is None else f"{key}.{arm.task}"
        task = _task(resolved, data, kind, {} if variant is None else variant.spec, scale, root, problems)
        _add_run(resolved, f"{key}/{arm_name}", arm, size, (data, kind), task, problems)
    _check_donors(resolved, key, study, problems)


def _check_donors(resolved: Resolved, key: str, study: Study, problems: list[str]) -> None:
    """Notes arms that take their first weights, or a graft, from an arm that is not there or of another shape."""
    where = f"workflow/studies/{key}/study.yaml: arms"
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
    task: Task | None,
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
    shared = {"vocabulary": 2, "context": 2}
    if task is not None:
        shared = {
            name: getattr(task.spec, name) for name in (*shared, "features", "exemplars") if hasattr(task.spec, name)
        }
    specs = {}
    for part, of, fixed in (("model", ModelSpec, shared), ("train", TrainSpec, {})):
        origin = {f: f"{where}.{part}" for where, layer in layers.items() for f in getattr(layer, part)}
        merged = {f: value for layer in layers.values() for f, value in getattr(layer, part).items()}
        twice = sorted(set(merged) & set(fixed))
        if twice:
            problems.append(f"{name}: {part}: {', '.join(twice)} come from the task; set them under tasks.{kind}")
            continue
        specs[part] = validated(of, merged | fixed, f"{name}: {part}", problems, origin)
    if None in specs.values() or len(specs) < 2 or task is None:
        return
    seeds = [layer.seeds for layer in layers.values() if getattr(layer, "seeds", None) is not None][-1]
    try:
        spec = ArmSpec(study=key, arm=arm_name, task=data, starts_as=arm.starts_as, graft=arm.graft, **specs)
    except ValueError as error:
        problems.append(f"workflow/studies/{key}/study.yaml: arms.{arm_name}: {error}")
        return
    first = resolved.config.first_seed
    resolved.runs[name] = Run(spec, range(first, first + seeds))


def _task(
    resolved: Resolved, name: str, kind: str, own: Mapping, scale: Scale, root: Path, problems: list[str]
) -> Task | None:
    """The task at this scale, with what config.yaml replaces and a variant's own fields; noted in `resolved`."""
    size = scale.tasks[kind]
    where = f"workflow/scales/{resolved.config.scale}.yaml"
    replaced = resolved.config.tasks.get(kind, {})
    study, _, variant = name.rpartition(".")
    origin = (
        dict.fromkeys(size.spec, f"{where} tasks.{kind}.spec")
        | dict.fromkeys(replaced, f"config.yaml tasks.{kind}")
        | dict.fromkeys(own, f"workflow/studies/{study}/study.yaml tasks.{variant}")
    )
    spec = validated(TASKS[kind].Spec, {**size.spec, **replaced, **own}, f"task {name}", problems, origin)
    evaluation = validated(TASKS[kind].Evaluation, size.evaluation, f"{where}: tasks.{kind}.evaluation", problems)
    resolved.tasks.setdefault(name, {})
    if spec is None or evaluation is None:
        return None
    path = getattr(spec, "path", "")
    if path and not (root / path).exists():
        problems.append(f"task {name}: path: there is no {path!r}; give a path that exists (set in {origin['path']})")
    if isinstance(evaluation, EvaluationSpec):
        problems += _beyond(resolved, evaluation, spec.context, where, name)
    try:
        task = Task(name=kind, spec=spec, evaluation=evaluation)
    except ValueError as error:
        problems.append(f"task {name}: {error}")
        return None
    resolved.tasks[name] = {"task": kind} | {
        part: dataclasses.asdict(getattr(task, part)) for part in ("spec", "evaluation")
    }
    return task


def _beyond(resolved: Resolved, evaluation: EvaluationSpec, context: int, where: str, task: str) -> list[str]:
    """Measurements that want more tokens or examples than the task has."""
    ranges = [(f"pairs: {pair.name}", (*pair.early, *pair.late)) for pair in resolved.measure.pairs]
    ranges.append(("derivative", resolved.measure.derivative))
    found = [
        f"{where}: measure.{what} reaches index {max(indices)}, the last of task {task} is {context - 1}"
        for what, indices in ranges
        if max(indices) >= context
    ]
    if resolved.ablate.examples > evaluation.heldout_examples:
        found.append(
            f"{where}: ablate.examples is {resolved.ablate.examples}, but task {task} has only "
            f"{evaluation.heldout_examples} held-out examples"
        )
    return found


def _add_claims(resolved: Resolved, key: str, root: Path, problems: list[str]) -> None:
    where = f"workflow/studies/{key}/claims.yaml"
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
