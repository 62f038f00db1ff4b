"""From YAML files to what the workflow runs on, or to all that is wrong with them at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reinduce import studies
from reinduce.config import yaml
from reinduce.config.arm_contents import metrics_of_arm
from reinduce.config.declare import DeclarationError
from reinduce.config.find import find_all
from reinduce.config.resolve_claims import add_claims, check_calibration, check_figures, check_reads
from reinduce.config.resolve_runs import add_runs
from reinduce.config.resolved import Resolved
from reinduce.config.task_definition import TaskDefinition
from reinduce.config.user_config import (
    Cluster,
    Config,
    Scale,
    Study,
)
from reinduce.config.validate import ConfigError, named, note_unknown, read, validated, without_faults
from reinduce.trace.chain import CLI_OVERRIDES

STUDIES = "workflow/studies"
"""The project's own folder of studies."""


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

    resolved = Resolved(config, Path(config.results or scale.results), metrics=scale.metrics, ablate=scale.ablate)
    resolved.is_judged = scale.is_judged
    resolved.studies, resolved.folders = found, {key: folders[key].format(key) for key in found}
    resolved.study_folders = [(root / folder).resolve().as_posix() for folder in config.study_folders]
    cluster = {**scale.cluster.model_dump(), **config.cluster}
    resolved.cluster = validated(Cluster, cluster, "config.yaml: cluster", problems)
    for key, study in found.items():
        check_figures(root, resolved.folders[key], study, problems)
        add_runs(resolved, key, study, scale, root, problems)
    _check_selections(resolved, problems)
    for key in found:
        check_reads(resolved, key, problems)
        add_claims(resolved, key, root, problems)
        check_calibration(resolved, key, root, problems)
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
    home, others = root.resolve(), [(root / folder).resolve() for folder in config.study_folders]
    studies.add_folders(others)
    patterns = [f"{STUDIES}/{{}}"] + [
        f"{(folder.relative_to(home) if folder.is_relative_to(home) else folder).as_posix()}/{{}}" for folder in others
    ]
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
    """Note metrics that there are not, and tasks where heads would be judged on documents on which they were chosen."""
    known = {name: metric for name, metric in find_all("metric").items() if metric.level == "head"}
    chosen, where = resolved.ablate.selections, f"workflow/scales/{resolved.config.scale}.yaml: ablate"
    note_unknown([one.metric for one in chosen], known, f"{where}.selections", problems)
    on_documents = [known[one.metric] for one in chosen if one.metric in known]
    on_documents = [metric for metric in on_documents if metric.evaluation_set == "heldout"]
    judged = resolved.ablate.examples
    for run in resolved.runs.values():
        there = run.task.set_sizes().get("heldout", 0)
        for metric in on_documents if run.unavailable_reason("ablations") is None else ():
            used = metric.examples or there
            if used + judged > there > 0 and metric.name in metrics_of_arm(run.arm, run.task, run.settings):
                problems.append(
                    f"{where}: heads are chosen by {metric.name} on the first {used} held-out documents of "
                    f"{run.arm.task} and judged on the last {judged}, but it has {there}; give it more, or judge fewer"
                )


def as_given(results: Path | None, root: Path = Path()) -> tuple[Resolved, dict]:
    """Return the configuration as it resolves now under the overrides with which `results` were last made, and these.

    Raises ValueError if there are no results, or those of a run in another folder: its files are named from there.
    """
    folder = root / (load(root=root).results if results is None else results)
    if not (folder / CLI_OVERRIDES).is_file():
        raise ValueError(f"{folder}: no results are here ({CLI_OVERRIDES} is missing); make some, or give --results")
    given = json.loads((folder / CLI_OVERRIDES).read_text())
    resolved = load(yaml.typed(given), root)
    if (root / resolved.results).resolve() != folder.resolve():
        raise ValueError(f"{folder}: a run in another folder made these results; call reinduce there")
    return resolved, given
