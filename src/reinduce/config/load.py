"""From YAML files to resolved specifications, or to all that is wrong with them at once."""

import dataclasses
import difflib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from reinduce.config import yaml
from reinduce.config.layout import SERIES_TABLES, bound_reads, checkpoint_steps
from reinduce.config.specs import AblateSpec, ArmSpec, MeasureSpec, ModelSpec, TrainSpec, to_json
from reinduce.config.tree import Arm, Budget, Claim, Config, Replacement, Scale, Study, StudySize
from reinduce.task import TASKS, Task
from reinduce.trace.files import write_text


class ConfigError(ValueError):
    """Everything that is wrong with the configuration, a line each."""

    def __init__(self, problems: list[str]):
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {p}" for p in problems)]))
        self.problems = problems


@dataclass(frozen=True)
class Run:
    """An arm and its seeds."""

    arm: ArmSpec
    seeds: int

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
    studies: dict[str, Study] = field(default_factory=dict)
    claims: dict[str, dict] = field(default_factory=dict)
    """'study.claim' → the content of its JSON."""


def load(values: Mapping | None = None, root: Path = Path()) -> Resolved:
    """Resolve a configuration; `values` are those of config.yaml unless given.

    Raises ConfigError with all problems of all files.
    """
    problems: list[str] = []
    path = root / "config.yaml"
    written = _read(path, problems) if path.is_file() else {}
    given = yaml.numbers(written if values is None else dict(values))
    config = _validated(Config, given, "config.yaml", problems)
    if config is None:
        # Go on without what is wrong, so that the rest is checked too.
        config = _validated(Config, _without_faults(Config, given), "config.yaml", [])
    if config is None:
        raise ConfigError(problems)
    workflow = root / "workflow"
    scale = _named(Scale, workflow / "scales", config.scale, "{}.yaml", "config.yaml: scale", problems)
    studies = {
        key: _named(Study, workflow / "studies", key, "{}/study.yaml", "config.yaml: studies", problems)
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
    for key, study in found.items():
        _add_runs(resolved, key, study, scale, problems)
    for key in found:
        _add_claims(resolved, key, workflow / "studies" / key / "claims.yaml", problems)
    if problems:
        raise ConfigError(problems)
    return resolved


def _add_runs(resolved: Resolved, key: str, study: Study, scale: Scale, problems: list[str]) -> None:
    where = f"workflow/studies/{key}/study.yaml"
    name = resolved.config.scale
    if name not in study.scales:
        problems.append(f"{where}: scales: nothing about scale {name!r}; there are: {', '.join(study.scales)}")
        return
    size = study.scales[name]
    _unknown(size.arms, study.arms, f"{where}: scales.{name}.arms", problems)
    for arm_name, arm in study.arms.items():
        if arm.task not in scale.tasks:
            problems.append(f"{where}: arms.{arm_name}.task: no task {arm.task!r}; there are: {', '.join(scale.tasks)}")
            continue
        if arm.task not in size.tasks:
            problems.append(f"{where}: scales.{name}.tasks: nothing about {arm.task}, the task of arm {arm_name}")
            continue
        task = _task(resolved, arm.task, scale, problems)
        _add_run(resolved, f"{key}/{arm_name}", arm, size, task, problems)


def _add_run(resolved: Resolved, name: str, arm: Arm, size: StudySize, task: Task | None, problems: list[str]) -> None:
    key, arm_name = name.split("/")
    scale = resolved.config.scale
    layers: dict[str, Budget | Arm | Replacement] = {
        f"study.yaml scales.{scale}.tasks.{arm.task}": size.tasks[arm.task],
        f"study.yaml arms.{arm_name}": arm,
        f"study.yaml scales.{scale}.arms.{arm_name}": size.arms.get(arm_name, Replacement()),
        f"config.yaml overrides.{key}.{arm_name}": resolved.config.overrides.get(key, {}).get(arm_name, Replacement()),
    }
    # Where the task itself is wrong, an arm's own settings are checked all the same.
    shared = (
        {"vocabulary": task.spec.vocabulary, "context": task.spec.context} if task else {"vocabulary": 2, "context": 2}
    )
    specs = {}
    for part, kind, fixed in (("model", ModelSpec, shared), ("train", TrainSpec, {})):
        origin = {f: f"{where}.{part}" for where, layer in layers.items() for f in getattr(layer, part)}
        merged = {f: value for layer in layers.values() for f, value in getattr(layer, part).items()}
        twice = sorted(set(merged) & set(fixed))
        if twice:
            problems.append(f"{name}: {part}: {', '.join(twice)} come from the task; set them under tasks.{arm.task}")
            continue
        specs[part] = _validated(kind, merged | fixed, f"{name}: {part}", problems, origin)
    if None in specs.values() or len(specs) < 2 or task is None:
        return
    seeds = [layer.seeds for layer in layers.values() if getattr(layer, "seeds", None) is not None][-1]
    spec = ArmSpec(study=key, arm=arm_name, task=arm.task, **specs)
    for pair in resolved.measure.pairs:
        if max(*pair.early, *pair.late) >= spec.model.context:
            problems.append(
                f"workflow/scales/{scale}.yaml: measure.pairs: {pair.name} reaches beyond the context of {name}, "
                f"whose last index is {spec.model.context - 1}"
            )
    resolved.runs[name] = Run(spec, seeds)


def _task(resolved: Resolved, name: str, scale: Scale, problems: list[str]) -> Task | None:
    """The task at this scale, with what config.yaml replaces; noted in `resolved` once."""
    size = scale.tasks[name]
    where = f"workflow/scales/{resolved.config.scale}.yaml tasks.{name}.spec"
    replaced = resolved.config.tasks.get(name, {})
    origin = dict.fromkeys(size.spec, where) | dict.fromkeys(replaced, f"config.yaml tasks.{name}")
    already = name in resolved.tasks
    spec = _validated(TASKS[name].Spec, size.spec | replaced, f"task {name}", [] if already else problems, origin)
    resolved.tasks.setdefault(name, {})
    if spec is None:
        return None
    try:
        task = Task(name=name, spec=spec, evaluation=size.evaluation)
    except ValueError as error:
        problems.append(f"task {name}: {error}")
        return None
    resolved.tasks[name] = {"task": name} | {
        part: dataclasses.asdict(getattr(task, part)) for part in ("spec", "evaluation")
    }
    return task


def _add_claims(resolved: Resolved, key: str, path: Path, problems: list[str]) -> None:
    where = f"workflow/studies/{key}/claims.yaml"
    listed = _read(path, problems) if path.is_file() else []
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


def _seeds_read(resolved: Resolved, key: str, claim: Claim, where: str, problems: list[str]) -> dict[str, int]:
    """'study/arm' → seeds of every arm that a claim and its control read; of all arms for tables of a whole task."""
    seeds = {}
    for bindings in (claim.with_, claim.with_ | claim.control.with_):
        try:
            reads = bound_reads(claim.reads, key, bindings)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        for table, names in reads.items():
            for name in names:
                if table in SERIES_TABLES:
                    study, task = name.split("/")
                    arms = [n for n, run in resolved.runs.items() if (run.arm.study, run.arm.task) == (study, task)]
                else:
                    arms = [name] if name in resolved.runs else []
                # An arm or task whose own settings are wrong has been told of already.
                known = {*resolved.studies[key].arms, *resolved.tasks}
                if not arms and name.split("/")[1] not in known:
                    problems.append(f"{where}: reads.{table}: there is no {name!r} among the studies that run")
                seeds |= {arm: resolved.runs[arm].seeds for arm in arms}
    return seeds


def write_resolved(resolved: Resolved) -> None:
    """Write what jobs read: one small JSON for each, left untouched where nothing changed."""
    results = resolved.results
    write_text(results / "config.json", resolved.config.model_dump_json(indent=2) + "\n")
    for name, task in resolved.tasks.items():
        write_text(results / "data" / name / "task.json", to_json(task))
    for name, run in resolved.runs.items():
        write_text(results / name / "train.json", to_json(run.arm))
        write_text(results / name / "measure.json", to_json(resolved.measure))
        write_text(results / name / "ablate.json", to_json(resolved.ablate))
    for key in resolved.studies:
        seeds = {run.arm.arm: run.seeds for run in resolved.runs.values() if run.arm.study == key}
        write_text(results / key / "seeds.json", to_json(seeds))
    for claim in resolved.claims.values():
        write_text(claim_file(results, claim), to_json(claim))


def claim_file(results: Path, claim: Mapping) -> Path:
    """Where a resolved claim lies."""
    return results / claim["study"] / "claims" / f"{claim['claim']}.json"


def changed_claims(resolved: Resolved) -> list[dict]:
    """Claims that are new or differ from what was last written: their queries are still to be checked."""
    files = [(claim_file(resolved.results, claim), claim) for claim in resolved.claims.values()]
    return [claim for path, claim in files if not path.is_file() or path.read_text() != to_json(claim)]


def _read(path: Path, problems: list[str]) -> Any:
    try:
        return yaml.read(path)
    except (ValueError, OSError) as error:
        problems.append(str(error))
        return {}


def _named(kind, folder: Path, name: str, pattern: str, where: str, problems: list[str]):
    """A YAML file that the configuration names; says which there are if it is not there."""
    path = folder / pattern.format(name)
    if not path.is_file():
        star = pattern.format("*")
        there = sorted((p.parent.name if "/" in star else p.stem) for p in folder.glob(star))
        close = difflib.get_close_matches(str(name), there, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        problems.append(f"{where}: no {name!r}; there are: {', '.join(there)}{hint}")
        return None
    before = len(problems)
    values = _read(path, problems)
    return _validated(kind, values, path.as_posix(), problems) if len(problems) == before else None


def _unknown(names, known, where: str, problems: list[str]) -> None:
    for name in names:
        if name not in known:
            problems.append(f"{where}: no {name!r}; there are: {', '.join(known)}")


def _validated(kind, values: Any, where: str, problems: list[str], origin: Mapping[str, str] | None = None):
    """`values` as `kind` (a pydantic model or a dataclass), or None with every problem noted.

    JSON is the common ground: lists may be tuples and keys of a mapping may be numbers, but
    text is never taken for a number, nor a number for a truth value.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problems += (_told(kind, problem, where, origin or {}) for problem in error.errors())
    except TypeError as error:
        problems.append(f"{where}: {error}")
    return None


def _without_faults(kind, values: Any) -> Any:
    """The values without those that `kind` finds wrong."""
    values = json.loads(json.dumps(values))
    try:
        TypeAdapter(kind).validate_python(values, strict=True)
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
    involved = path[:1] if path else [name for name in origin if name in message.replace(",", " ").split()]
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
