"""What the workflow runs on, and the small files in which jobs read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reinduce.config.arm_contents import unavailable_reason
from reinduce.config.job_specs import ArmSpec, to_json
from reinduce.config.layout import checkpoint_steps
from reinduce.config.metric_settings import AblateSpec, MetricSettings
from reinduce.config.task_definition import TaskDefinition
from reinduce.config.user_config import Cluster, Config, Study
from reinduce.trace.chain import CLI_OVERRIDES
from reinduce.trace.files import write_text

RESOLVED = "config.json"
"""In a folder of results: the whole of config.yaml, as it was when they were last asked for."""


@dataclass(frozen=True)
class Run:
    """An arm, its seeds, its task, and how its checkpoints are measured."""

    arm: ArmSpec
    seeds: range
    """Those of the first look."""
    task: TaskDefinition
    settings: MetricSettings
    further: tuple[range, ...] = ()
    """Those that each later look adds."""

    @property
    def blocks(self) -> tuple[range, ...]:
        """The seeds that each look adds."""
        return (self.seeds, *self.further)

    def seeds_at(self, look: int) -> list[int]:
        """Return all seeds at a look, from 1 on; those of the last one at any later look."""
        return [seed for block in self.blocks[:look] for seed in block]

    def unavailable_reason(self, table: str) -> str | None:
        """Return why these runs do not have a table; None if they have it."""
        return unavailable_reason(table, self.arm, self.task)

    @property
    def steps(self) -> list[int]:
        """Steps at which checkpoints are kept."""
        return checkpoint_steps(self.arm)


@dataclass
class Resolved:
    """What the workflow runs on."""

    config: Config
    results: Path
    tasks: dict[str, TaskDefinition | None] = field(default_factory=dict)
    """Name of the data folder → the task; None if its configuration is wrong."""
    runs: dict[str, Run] = field(default_factory=dict)
    """'study/arm' → its arm and seeds."""
    metrics: MetricSettings | None = None
    ablate: AblateSpec | None = None
    cluster: Cluster | None = None
    is_judged: bool = True
    """Whether verdicts at this scale are meant to be read."""
    studies: dict[str, Study] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """study → its folder: from the project's root, or where it lies elsewhere."""
    study_folders: list[str] = field(default_factory=list)
    """Folders of studies beside the project's own, as absolute paths."""
    claims: dict[str, dict] = field(default_factory=dict)
    """'study.claim' → the content of its JSON."""


def settings(resolved: Resolved) -> dict[str, str]:
    """What jobs read of the configuration: file → its text."""
    results = resolved.results
    found: dict[Path, Any] = {
        results / "data" / name / "task.json": task.content() for name, task in resolved.tasks.items()
    }
    for name, run in resolved.runs.items():
        found[results / name / "train.json"] = run.arm
        found[results / name / "metrics.json"] = run.settings
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
    write_text(root / resolved.results / RESOLVED, resolved.config.model_dump_json(indent=2) + "\n")
    write_text(root / resolved.results / CLI_OVERRIDES, to_json(dict(given)))
    for path, text in settings(resolved).items():
        write_text(root / path, text)


def claim_file(results: Path, claim: Mapping) -> Path:
    """Where a resolved claim lies."""
    return results / claim["study"] / "claims" / f"{claim['claim']}.json"


def changed_claims(resolved: Resolved) -> list[dict]:
    """Claims that are new or differ from what was last written: their queries are still to be checked."""
    files = [(claim_file(resolved.results, claim), claim) for claim in resolved.claims.values()]
    return [claim for path, claim in files if not path.is_file() or path.read_text() != to_json(claim)]
