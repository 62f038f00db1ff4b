"""What all rules share: the resolved configuration, and functions from names to paths.

Required: config.yaml; config (what the command line lays over it).
Defines: resolved (what runs), R (the results folder). Paths come from `reinduce.config.layout`.
"""

import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from reinduce.config import layout
from reinduce.config.load import ConfigError, write_resolved
from reinduce.config.tree import NAME, STUDY
from reinduce.front_door import resolve
from reinduce.trace.sources import closure

try:
    resolved = resolve(config, root=Path(workflow.basedir))
except ConfigError as error:
    raise WorkflowError(str(error)) from None
write_resolved(resolved)

R = resolved.results.as_posix()
RUN = f"{R}/{{study}}/{{arm}}/seed{{seed}}"
SHORT_RUN = 25  # in units of `cost`, about a second each
FIGURES = [(key, figure) for key, study in resolved.studies.items() for figure in study.figures]


wildcard_constraints:
    study=STUDY,
    arm=NAME,
    seed=r"\d+",
    task=r"[a-z0-9_.]+",
    claim=NAME,


def sources(module):
    """Source files whose edit makes a stage's results stale; a package's templates are sources too."""
    return [*closure(module), *sorted(Path("src", *module.split("."), "templates").glob("*"))]


def rule_name(stage, name):
    """A rule's name for one arm or figure."""
    return re.sub(r"\W", "_", f"{stage}_{name}")


def asked(wildcards):
    """The resolved arm that wildcards name."""
    name = f"{wildcards.study}/{wildcards.arm}"
    if name not in resolved.runs:
        raise WorkflowError(f"no arm {name}; there are: {', '.join(resolved.runs)}")
    return resolved.runs[name]


def data_files(task):
    """A task's data, file by file."""
    return layout.data_files(R, task, resolved.tasks[task]["task"])


def made_from(task):
    """What a task is made from beside its specification: the lock, which pins packages, or the user's own file."""
    spec = resolved.tasks[task]["spec"]
    return "envs/lock.txt" if spec.get("source") == "packages" else spec.get("path") or []


def cost(arm):
    """Roughly how long a training takes: long ones start first, so that no core idles at the end."""
    model = arm.model
    width = model.layers * model.d_model * (4 + 2 * model.mlp_ratio) + model.vocabulary
    return round(arm.train.steps * arm.train.batch * model.context * model.d_model * width / 1e9) + 1


def together(run):
    """Whether one process takes all seeds of an arm: where runs are short, starting would take longer."""
    return cost(run.arm) <= SHORT_RUN


def seeds_of(run):
    """The seeds that one job takes, as the command line names them."""
    return list(range(run.seeds)) if together(run) else "{seed}"


def job_name(name, run, seed="{seed}"):
    """What logs and messages call a job: the arm, and its seed where each has a job of its own."""
    return name if together(run) else f"{name}/seed{seed}"


def job_folders(name, run):
    """Folders of the seeds that one job takes."""
    return layout.seed_folders(R, name, run.seeds) if together(run) else [Path(R, name, "seed{seed}")]


def donors(run):
    """The checkpoints from which the seeds of a job take their graft, if the arm has one."""
    if run.arm.graft is None:
        return []
    giver = resolved.runs[f"{run.arm.study}/{run.arm.graft.arm}"]

    def of(wildcards):
        seeds = range(run.seeds) if together(run) else [int(wildcards.seed)]
        return [layout.donor_file(R, run.arm, seed, giver.arm, giver.seeds) for seed in seeds]

    return of


def checkpoints_of(wildcards):
    """A run's checkpoints."""
    return layout.checkpoint_files(Path(RUN.format(**wildcards)), asked(wildcards).arm)


def data_of(wildcards):
    """A run's task, as files."""
    return data_files(asked(wildcards).arm.task)


def last_score(wildcards):
    """The scores of a run's last checkpoint, by which heads are chosen."""
    return layout.score_files(Path(RUN.format(**wildcards)), asked(wildcards).arm)[-1]


def every_score():
    """The scores of every checkpoint of every run."""
    runs = [(folder, run) for name, run in resolved.runs.items() for folder in layout.seed_folders(R, name, run.seeds)]
    return [file for folder, run in runs for file in layout.score_files(folder, run.arm)]


def folders_on_task(study, task):
    """Seed folders of all runs of a study on a task."""
    chosen = [(n, run) for n, run in resolved.runs.items() if (run.arm.study, run.arm.task) == (study, task)]
    return [folder for name, run in chosen for folder in layout.seed_folders(R, name, run.seeds)]


def evidence_of(wildcards):
    """Every file that a claim and its control read."""
    name = f"{wildcards.study}.{wildcards.claim}"
    if name not in resolved.claims:
        raise WorkflowError(f"no claim {name}; there are: {', '.join(resolved.claims)}")
    runs = {key: (run.arm, run.seeds) for key, run in resolved.runs.items()}
    return layout.evidence_files(R, resolved.claims[name], runs)


def figure_tables(study, figure):
    """The tables that a figure is drawn from."""
    return list(resolved.studies[study].figures[figure].tables)


def figure_runs(study, figure):
    """The arms that a figure is drawn from, and their seeds: those it names, else all of its study."""
    named = resolved.studies[study].figures[figure].reads or {study: resolved.studies[study].arms}
    names = [f"{key}/{arm}" for key, arms in named.items() for arm in arms]
    return {name: (resolved.runs[name].arm, resolved.runs[name].seeds) for name in names}
