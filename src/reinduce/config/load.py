"""From YAML files to resolved specifications, or to all that is wrong with them at once."""

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from reinduce.config import yaml
from reinduce.config.layout import GIVEN, SERIES_TABLES, TABLES, bound_reads, checkpoint_steps, why_without
from reinduce.config.specs import AblateSpec, ArmSpec, MeasureSpec, ModelSpec, TrainSpec, to_json
from reinduce.config.tree import Arm, Budget, Claim, Cluster, Config, Replacement, Scale, Study, StudySize
from reinduce.task import TASKS, Task
from reinduce.task.specs import EvaluationSpec
from reinduce.trace.files import write_text

SHAPE = ("d_model", "heads", "vocabulary", "features", "positions")
"""What two models must share for one to take the other's weights."""


class ConfigError(ValueError):
    """Everything that is wrong with the configuration, a line each."""

    def __init__(self, problems: list[str]):
        # Arms that share a setting share its fault.
        self.problems = list(dict.fromkeys(problems))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {p}" for p in self.problems)]))


@dataclass(frozen=True)
class Run:
    """An arm and its seeds."""

    arm: ArmSpec
    seeds: range

    @property
    def steps(self) -> list[int]:
        """Steps at which checkpoints are kept."""
        return checkpoint_steps(self.arm)


@dataclass
class Resolved:
    """What the workflow runs on."""

    config: Config
    results: Path
    tasks: dict[str, dict] = field(default_factory=dict)
    """task → the content of its task.json."""
    runs: dict[str, Run] = field(default_factory=dict)
    """'study/arm' → its arm and seeds."""
    measure: MeasureSpec | None = None
    ablate: AblateSpec | None = None
    cluster: Cluster | None = None
    studies: dict[str, Study] = field(default_factory=dict)
    claims: dict[str, dict] = field(default_factory=dict)
    """'study.claim' → the content of its JSON."""


def load(values: Mapping = MappingProxyType({}), root: Path = Path()) -> Resolved:
    """Resolve config.yaml, with `values` (those of the command line) laid over it.

    Raises ConfigError with all problems of all files.
    """
    problems: list[str] = []
    written = _read(root, "config.yaml", problems)
    if problems:
        raise ConfigError(problems)
    given = _laid_over(written, values)
    config = _validated(Config, given, "config.yaml", problems)
    if config is None:
        # Go on without what is wrong, so that the rest is checked too.
        config = _validated(Config, _without_faults(Config, given), "config.yaml", [])
    if config is None:
        raise ConfigError(problems)
    scale = _named(Scale, root, "workflow/scales/{}.yaml", config.scale, "config.yaml: scale", problems)
    studies = {
        key: _named(Study, root, "workflow/studies/{}/study.yaml", key, "config.yaml: studies", problems)
        for key in dict.fromkeys(config.studies)
    }
    _unknown(config.tasks, TASKS, "config.yaml: tasks", problems)
    found = {key: study for key, study in studies.items() if study is not None}
    _unknown(config.overrides, found, "config.yaml: overrides", problems)
    for key, study in found.items():
        _unknown(config.overrides.get(key, {}), study.arms, f"config.yaml: overrides.{key}", problems)
    if scale is None:
        raise ConfigError(problems)

    resolved = Resolved(config, Path(config.results or scale.results), measure=scale.measure, ablate=scale.ablate)
    resolved.studies = found
    cluster = {**scale.cluster.model_dump(), **config.cluster}
    resolved.cluster = _validated(Cluster, cluster, "config.yaml: cluster", problems)
    for key, study in found.items():
        _check_figures(root, key, study, problems)
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


def _check_figures(root: Path, key: str, study: Study, problems: list[str]) -> None:
    folder = f"workflow/studies/{key}"
    for figure in study.figures:
        for what, ending in (("notebook", ".py"), ("caption", ".rst")):
            if not (root / folder / f"{figure}{ending}").is_file():
                problems.append(f"{folder}/study.yaml: figures.{figure}: its {what} {figure}{ending} is not beside it")


def _check_reads(resolved: Resolved, key: str, problems: list[str]) -> None:
    for name, figure in resolved.studies[key].figures.items():
        where = f"workflow/studies/{key}/study.yaml: figures.{name}.reads"
        _unknown(figure.reads, resolved.studies, where, problems)
        for study, arms in (figure.reads or {key: list(resolved.studies[key].arms)}).items():
            if study in resolved.studies:
                _unknown(arms, resolved.studies[study].arms, f"{where}.{study}", problems)
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
    _unknown(size.arms, study.arms, f"{where}: scales.{name}.arms", problems)
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
            _unknown([giver], study.arms, f"{where}.{name}.{part}", problems)
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
        specs[part] = _validated(of, merged | fixed, f"{name}: {part}", problems, origin)
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
    spec = _validated(TASKS[kind].Spec, {**size.spec, **replaced, **own}, f"task {name}", problems, origin)
    evaluation = _validated(TASKS[kind].Evaluation, size.evaluation, f"{where}: tasks.{kind}.evaluation", problems)
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
    listed = _read(root, where, problems) if (root / where).is_file() else []
    study = resolved.studies[key]
    for place, values in enumerate(listed or []):
        label = values.get("id", f"entry {place + 1}") if isinstance(values, dict) else f"entry {place + 1}"
        claim = _validated(Claim, values, f"{where}: {label}", problems)
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
        _unknown(reads, TABLES, f"{where}: reads", problems)
        for table, names in reads.items():
            read = _readable(resolved.studies, table)
            _unknown(names, read, f"{where}: reads.{table}", problems)
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


def settings(resolved: Resolved) -> dict[str, str]:
    """What jobs read of the configuration: file → its text."""
    results = resolved.results
    found = {results / "data" / name / "task.json": task for name, task in resolved.tasks.items()}
    for name, run in resolved.runs.items():
        found[results / name / "train.json"] = run.arm
        found[results / name / "measure.json"] = resolved.measure
        found[results / name / "ablate.json"] = resolved.ablate
    for key in resolved.studies:
        found[results / key / "seeds.json"] = {
            run.arm.arm: list(run.seeds) for run in resolved.runs.values() if run.arm.study == key
        }
    found |= {claim_file(results, claim): claim for claim in resolved.claims.values()}
    return {path.as_posix(): to_json(values) for path, values in found.items()}


def write_resolved(resolved: Resolved, given: Mapping = MappingProxyType({}), root: Path = Path()) -> None:
    """Write what jobs read: one small JSON for each, left untouched where nothing changed.

    `given`: what the command line laid over config.yaml, kept so that the same can be resolved again.
    """
    write_text(root / resolved.results / "config.json", resolved.config.model_dump_json(indent=2) + "\n")
    write_text(root / resolved.results / GIVEN, to_json(dict(given)))
    for path, text in settings(resolved).items():
        write_text(root / path, text)


def as_given(results: Path | None, root: Path = Path()) -> tuple[Resolved, dict]:
    """The configuration as it resolves now, with what the command line said when `results` were last made; and that.

    Raises ValueError if there are no results.
    """
    folder = root / (load(root=root).results if results is None else results)
    if not (folder / GIVEN).is_file():
        raise ValueError(f"{folder}: no results are here ({GIVEN} is missing); make some, or give --results")
    given = json.loads((folder / GIVEN).read_text())
    return load(yaml.typed(given), root), given


def claim_file(results: Path, claim: Mapping) -> Path:
    """Where a resolved claim lies."""
    return results / claim["study"] / "claims" / f"{claim['claim']}.json"


def changed_claims(resolved: Resolved) -> list[dict]:
    """Claims that are new or differ from what was last written: their queries are still to be checked."""
    files = [(claim_file(resolved.results, claim), claim) for claim in resolved.claims.values()]
    return [claim for path, claim in files if not path.is_file() or path.read_text() != to_json(claim)]


def _read(root: Path, name: str, problems: list[str]) -> Any:
    try:
        return yaml.read(root / name)
    except ValueError as error:
        problems.append(f"{name}: {error}")
    except FileNotFoundError:
        problems.append(f"{name}: there is no such file in {root.resolve()}")
    return {}


def _named(kind, root: Path, pattern: str, name: str, where: str, problems: list[str]):
    """A YAML file that the configuration names; says which there are if it is not there."""
    path = pattern.format(name)
    if not (root / path).is_file():
        after = pattern.split("{}")[1]
        there = sorted(p.as_posix().removesuffix(after).rsplit("/", 1)[1] for p in root.glob(pattern.format("*")))
        close = difflib.get_close_matches(str(name), there, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        problems.append(f"{where}: no {name!r}; there are: {', '.join(there)}{hint}")
        return None
    before = len(problems)
    values = _read(root, path, problems)
    return _validated(kind, values, path, problems) if len(problems) == before else None


def _unknown(names, known, where: str, problems: list[str]) -> None:
    for name in names:
        if name not in known:
            problems.append(f"{where}: no {name!r}; there are: {', '.join(known)}")


# Making an adapter takes far longer than using it, and arms are many.
_adapter = cache(TypeAdapter)


def _validated(kind, values: Any, where: str, problems: list[str], origin: Mapping[str, str] | None = None):
    """`values` as `kind` (a pydantic model or a dataclass), or None with every problem noted.

    JSON is the common ground: lists may be tuples and keys of a mapping may be numbers, but
    text is never taken for a number, nor a number for a truth value.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += (_told(kind, problem, where, origin or {}) for problem in error.errors())
    return None


def _without_faults(kind, values: Any) -> Any:
    """The values without those that `kind` finds wrong."""
    values = json.loads(json.dumps(values, default=str))
    try:
        _adapter(kind).validate_python(values, strict=True)
    except ValidationError as error:
        for problem in error.errors():
            *path, last = problem["loc"]
            place = values
            for step in path:
                place = place[step] if isinstance(place, dict | list) else {}
            if isinstance(place, dict):
                place.pop(last, None)
    return values


def _told(kind, problem: Mapping, where: str, origin: Mapping[str, str]) -> str:
    """One problem: where, which key, what was found, what was expected."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _fields(kind, path[:-1])
        close = difflib.get_close_matches(path[-1], known, 1)
        message = f"unknown key; expected {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")
    elif problem["type"] == "missing":
        message = "missing"
    elif problem["type"] != "value_error":
        message = f"{message[0].lower()}{message[1:]}, found {problem['input']!r}"
    involved = path[:1] if path else [name for name in origin if name in re.findall(r"\w+", message)]
    places = sorted({origin[name] for name in involved if name in origin})
    set_in = f" (set in {', '.join(places)})" if places else ""
    return f"{where}: {key}: {message}{set_in}" if key else f"{where}: {message}{set_in}"


def _fields(kind, path: list[str]) -> list[str]:
    """Names of the keys that may stand at a path within a type."""
    for step in path:
        if typing.get_origin(kind) in (dict, list):
            kind = typing.get_args(kind)[-1]
            continue
        kind = _hints(kind).get(step, dict)
        if typing.get_origin(kind) in (dict, list):
            continue
        options = [a for a in typing.get_args(kind) if a is not type(None)]
        kind = options[0] if options else kind
    return sorted(_hints(kind))


def _hints(kind) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        return {f.name: f.type for f in dataclasses.fields(kind)}
    return {}
