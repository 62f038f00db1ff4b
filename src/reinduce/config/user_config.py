"""The files that people write, as types: the schemas and the checks come from here.

What a job finally gets is in `config.job_specs`; this module says how the YAML files add up to
it, and imports pydantic, which jobs never do. Claims are in `config.claim_files`.
"""

import itertools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from reinduce.config.job_specs import GraftSpec
from reinduce.config.layout import DRAWN
from reinduce.config.metric_settings import AblateSpec, MetricSettings

# Names become files, rules and wildcards.
STUDY = "[a-z0-9_]+"
NAME = "[a-z0-9-]+"
TASK = "[a-z0-9_]+"
StudyKey = Annotated[str, Field(pattern=f"^{STUDY}$")]
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Task = Annotated[str, Field(pattern=f"^{TASK}$")]


MAX_SEEDS = 10_000
"""The most seeds of an arm; more are a slip of the pen."""


def _check_seeds(value: Any) -> int | list[int]:
    counts = value if isinstance(value, list) else [value]
    whole = bool(counts) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in counts)
    if not whole or any(one >= other for one, other in itertools.pairwise(counts)) or counts[-1] > MAX_SEEDS:
        few = f"a whole number from 1 to {MAX_SEEDS} is expected, or a list of such that ascends"
        raise ValueError(f"{few}, found {value!r}")
    return value


_WHOLE = {"type": "integer", "exclusiveMinimum": 0}
Seeds = Annotated[
    int | list[int],
    PlainValidator(_check_seeds),
    WithJsonSchema({"anyOf": [_WHOLE, {"type": "array", "items": _WHOLE, "minItems": 1}]}),
]


class Strict(BaseModel):
    """No unknown keys, no conversion of one type into another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Override(Strict):
    """What replaces an arm's own settings, field by field."""

    seeds: Seeds | None = None
    """How many seeds are trained, or how many by each look at the claims that read them."""
    model: dict[str, Any] = {}
    """Fields of the model (n_layers, d_model, n_heads, mlp_ratio, positions, smeared_keys, layer_norm)."""
    train: dict[str, Any] = {}
    """Fields of the training (steps, batch_size, learning_rate, warmup, checkpoints, …)."""


class Cluster(Strict):
    """What jobs request from a cluster, and what trainings run on; results differ at most in their last digits."""

    account: str | None = None
    """The account that is charged (`sbatch --account`); null: the cluster's default."""
    partition: str | None = None
    """The partition of jobs (`sbatch --partition`); null: the cluster's default."""
    gpu_partition: str | None = None
    """The partition of jobs with GPUs; null: the same as for other jobs."""
    gpu_type: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_.]+$")
    """The type of GPUs, as `sinfo --format %G` names it; null: any."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """What trainings run on: gpu (requested from the scheduler), cpu, or auto (a GPU if the job finds one)."""
    max_gpus_per_node: int = Field(default=1, gt=0)
    """The most GPUs of one training job on each machine; with `device: cpu`, the most processes."""
    max_nodes: int = Field(default=1, gt=0)
    """The most machines of one training job."""
    max_hours: float = Field(default=24.0, gt=0)
    """The longest time that a job may request; a longer training continues in the next job."""
    time_multiplier: float = Field(default=1.0, gt=0)
    """Runtime multiplier for slow nodes."""


class Budget(Strict):
    """How far the seeds of an arm may grow while claims that read them are undecided."""

    seeds: int | None = Field(default=None, gt=0)
    """The most seeds of an arm; null: as many as its last look has."""
    hours: float | None = Field(default=None, gt=0)
    """The most hours that trainings of an arm's seeds may take together, as estimated for one core; null: no limit."""


class Config(Strict):
    """config.yaml: which studies run and at which scale."""

    scale: Name = "laptop"
    """A file of workflow/scales: smoke, laptop or cluster."""
    studies: list[StudyKey] = Field(min_length=1)
    """Folders of workflow/studies, or of `study_folders`."""
    study_folders: list[str] = []
    """Further folders that hold studies, beside workflow/studies; their code is run as the project's own."""
    results: str | None = None
    """Where results go; null: where the scale says."""
    first_seed: int = Field(default=0, ge=0, lt=2**31)
    """The number of the first replicate of every arm; others follow."""
    looks: int | None = Field(default=None, gt=0)
    """The most looks at a claim; 1: the seeds of the first look decide. Null: as many as its arms have."""
    seed_factor: float = Field(default=1.0, ge=1, le=1000)
    """Every look has so many times the seeds that the study declares, as far as the budget allows."""
    budget: Budget = Budget()
    """How far seeds may grow."""
    tasks: dict[str, dict[str, Any]] = {}
    """task → fields of its distribution that replace the scale's, such as {source: folder, path: …}; a study's own task
    is named <study>.<task>."""
    overrides: dict[str, dict[str, Override]] = {}
    """study → arm → what replaces the study's own settings."""
    cluster: dict[str, Any] = {}
    """What replaces the scale's: account, partition, gpu_partition, gpu_type, device, max_gpus_per_node, max_nodes,
    max_hours, time_multiplier."""


class TaskSize(Strict):
    """A task at a scale."""

    spec: dict[str, Any]
    """Fields of the task's distribution."""
    evaluation: dict[str, Any]
    """Sizes of its frozen evaluation sets."""


class Scale(Strict):
    """workflow/scales/<scale>.yaml: how big, for every study."""

    results: str
    """Where results go."""
    tasks: dict[str, TaskSize]
    """task of the library → its size."""
    metrics: MetricSettings
    """How checkpoints are measured."""
    ablate: AblateSpec
    """How heads are ablated."""
    cluster: Cluster = Cluster()
    """What jobs ask of a cluster, where config.yaml says nothing else."""
    is_judged: bool = True
    """Whether verdicts are meant to be read: then some seeds of every claim must be able to decide it."""


class Arm(Strict):
    """One model variant trained on one task under one treatment."""

    task: str
    """The data distribution."""
    why: str
    """What the arm is there for."""
    init_from_arm: Name | None = None
    """The arm whose initial weights it has, seed by seed; null: its own."""
    graft: GraftSpec | None = None
    """What it takes over, untrained, from the end of another arm's run."""
    metrics: list[str] | None = None
    """Metrics that are measured, and with them those they need; null: all that the arm can have."""
    model: dict[str, Any] = {}
    """Fields of the model that make this arm what it is."""
    train: dict[str, Any] = {}
    """Fields of the training that make this arm what it is."""


class Variant(Strict):
    """A task of the study's own: another one with some fields of its distribution replaced."""

    of: str
    """The task it is a variant of."""
    spec: dict[str, Any]
    """Fields of the distribution that differ."""


class TrainingDefaults(Strict):
    """What all arms of a task get at a scale."""

    seeds: Seeds
    """How many seeds are trained, or how many by each look at the claims that read them."""
    spec: dict[str, Any] = {}
    """Fields of the task's distribution, for a task of the study's own; for others what replaces the scale's."""
    evaluation: dict[str, Any] = {}
    """Sizes of its evaluation sets, likewise."""
    model: dict[str, Any] = {}
    """Fields of the model, e.g. its width."""
    train: dict[str, Any] = {}
    """Fields of the training, e.g. its steps."""


class StudySize(Strict):
    """A study at a scale."""

    tasks: dict[str, TrainingDefaults]
    """task → what its arms get."""
    arms: dict[str, Override] = {}
    """arm → what replaces that."""


class Figure(Strict):
    """A notebook of the study."""

    title: str
    """Its heading in the report."""
    category: str
    """Under which part of the report it stands."""
    reads: dict[StudyKey, list[Name]] = {}
    """study → its arms that the figure is drawn from; empty: all of its own study."""
    tables: list[str] = list(DRAWN)
    """Tables that the figure is drawn from."""

    @model_validator(mode="after")
    def _known(self):
        unknown = [table for table in self.tables if table not in DRAWN]
        if unknown:
            raise ValueError(f"tables: no {', '.join(unknown)}; there are: {', '.join(DRAWN)}")
        return self


class Study(Strict):
    """workflow/studies/<key>/study.yaml: one paper's experiments."""

    title: str
    """The paper's title."""
    authors: str
    """Its authors, shortened."""
    year: int
    """When it appeared."""
    url: str
    """Where to read it."""
    tasks: dict[Task, Variant] = {}
    """task → how it differs from another one; its arms get that one's budget, if a scale names no other."""
    arms: dict[Name, Arm] = Field(min_length=1)
    """arm → what is trained."""
    scales: dict[str, StudySize]
    """scale → how big this study is there."""
    figures: dict[Name, Figure] = {}
    """figure → its notebook figures/<figure>.py and caption figures/<figure>.rst."""
