"""What all rules share: the resolved configuration, and functions from names to paths.

Required: config.yaml; config (what the command line lays over it).
Defines: resolved (what runs), R (the results folder), BATCHES (which runs share a job), and what
each command is asked for. Paths come from `reinduce.config.layout`, resources from `reinduce.config.jobs`.
"""

import re
from importlib import metadata
from pathlib import Path

from snakemake.exceptions import WorkflowError

from reinduce.cli import said, sources_of
from reinduce.config import jobs, layout
from reinduce.config.arm_contents import modules_of_arm
from reinduce.config.resolved import write_resolved
from reinduce.config.tree import NAME, STUDY
from reinduce.config.validate import ConfigError
from reinduce.front_door import resolve
from reinduce.orphans import QueueError, end_orphans
from reinduce.trace.sources import transitive_sources

try:
    resolved = resolve(config, root=Path(workflow.basedir))
    write_resolved(resolved, given=config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None
except OSError as error:
    raise WorkflowError(said(error)) from None

R = resolved.results.as_posix()
RUN = f"{R}/{{study}}/{{arm}}/seed{{seed}}"
BATCHES = jobs.batches(resolved.runs, resolved.cluster)
FIGURES = [(key, figure) for key, study in resolved.studies.items() for figure in study.figures]


wildcard_constraints:
    study=STUDY,
    arm=NAME,
    seed=r"\d+",
    task=r"[a-z0-9_.]+",
    claim=NAME,


def claim_queue():
    """End jobs that an earlier, killed run left in the queue, before any is submitted."""
    if workflow.remote_exec:
        return None
    try:
        return end_orphans(Path.cwd(), strict=workflow.non_local_exec)
    except QueueError as error:
        raise WorkflowError(str(error)) from None


def sources(command, modules=()):
    """Source files whose edit makes a command's results stale; a package's templates are sources too."""
    followed = sources_of(command)
    return [*transitive_sources(followed, *modules), *sorted(Path("src", *followed.split("."), "templates").glob("*"))]


def sources_for(stage, batch):
    """The same for a stage's job, with what declares its arms' tasks, metrics and interventions."""
    modules = [m for run in batch.runs.values() for m in modules_of_arm(stage, run.arm, run.task, run.settings)]
    return sources(stage, tuple(dict.fromkeys(modules)))


def rule_name(stage, name):
    """A rule's name for one arm or figure."""
    return re.sub(r"\W", "_", f"{stage}_{name}")


def data_files(task):
    """A task's data, file by file."""
    return layout.data_files(R, task, resolved.tasks[task])


def text_versions(task):
    """Installed versions of the packages whose files are a task's text, and of what cuts it: others give another text."""
    named = resolved.tasks[task].packages()
    return {name: metadata.version(name) for name in named if list(metadata.Distribution.discover(name=name))}


def needs(megabytes, minutes):
    """What a job on one core asks for; twice as much at each retry."""
    return jobs.needs(resolved.cluster, megabytes, minutes)


def with_table(table):
    """The batches of all runs that have such a table."""
    found = [batch.only(lambda run: run.unavailable_reason(table) is None) for batch in BATCHES]
    return [batch for batch in found if batch is not None]


def job_name(batch, seed="{seed}"):
    """What logs and messages call a job: its batch, and the seed where each has a job of its own."""
    return batch.name if batch.whole else f"{batch.name}/seed{seed}"


def files(batch, found):
    """Files of every arm and seed of a job; `found`: from a seed's folder and its arm to files."""
    arms = [run.arm for run in batch.runs.values() for _ in (run.seeds if batch.whole else [0])]
    return [file for folder, arm in zip(batch.folders(R), arms) for file in found(folder, arm)]


def specifications(batch, kind):
    """The resolved settings of a job's arms: `train`, `measure` or `ablate`."""
    return [f"{R}/{name}/{kind}.json" for name in batch.runs]


def data_of_batch(batch):
    """The data of a job's tasks."""
    return list(dict.fromkeys(file for run in batch.runs.values() for file in data_files(run.arm.task)))


def donors(batch):
    """The checkpoints from which a job's seeds take their graft, where arms have one."""

    def of(wildcards):
        each = batch.each(int(wildcards.get("seed", 0)))
        return [donor(run.arm, seed) for run, seed in each if run.arm.graft is not None]

    return of if any(run.arm.graft for run in batch.runs.values()) else []


def donor(arm, seed):
    """The checkpoint from which a seed of an arm takes its graft."""
    giver = resolved.runs[f"{arm.study}/{arm.graft.arm}"]
    return layout.donor_file(R, arm, seed, giver.arm, giver.seeds)


def work(batch, job):
    """A job's runs as its command takes them, with a + between; `job`: the arguments of an arm, a seed, its folder."""

    def of(wildcards):
        said = []
        for run, seed in batch.each(int(wildcards.get("seed", 0))):
            folder = Path(R, run.arm.study, run.arm.arm, f"seed{seed}")
            said += ["+", *map(str, job(run.arm, seed, folder))]
        return said[1:]

    return of


def score_outputs(batch):
    """All files that scoring a job's runs makes."""
    runs = [run for run in batch.runs.values() for _ in (run.seeds if batch.whole else [0])]
    pairs = zip(batch.folders(R), runs)
    return [file for folder, run in pairs for file in layout.score_outputs(folder, run.arm, run.task)]


def every_score():
    """The scores of every checkpoint of every run."""
    runs = [(folder, run) for name, run in resolved.runs.items() for folder in layout.seed_folders(R, name, run.seeds)]
    return [file for folder, run in runs for file in layout.score_files(folder, run.arm)]


def folders_on_task(study, task):
    """Seed folders of all runs of a study on a task."""
    chosen = [(n, run) for n, run in resolved.runs.items() if (run.arm.study, run.arm.task_name) == (study, task)]
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


def train_job(arm, seed, folder):
    """What `reinduce train` is asked for."""
    name, graft = f"{R}/{arm.study}/{arm.arm}", ["--source-checkpoint", donor(arm, seed)] if arm.graft else []
    return [f"{name}/train.json", "--seed", seed, "--data", f"{R}/data/{arm.task}", *graft, "--out", folder / "train"]


def score_job(arm, seed, folder):
    """What `reinduce score` is asked for."""
    name, checkpoints = f"{R}/{arm.study}/{arm.arm}", ["--checkpoints", folder / "train/checkpoints"]
    given = [f"{name}/measure.json", "--train", f"{name}/train.json", "--seed", seed]
    return [*given, "--data", f"{R}/data/{arm.task}", *checkpoints, "--out", folder / "score"]


def ablate_job(arm, seed, folder):
    """What `reinduce ablate` is asked for."""
    name = f"{R}/{arm.study}/{arm.arm}"
    given = [f"{name}/ablate.json", "--train", f"{name}/train.json", "--measure", f"{name}/measure.json"]
    given += ["--seed", seed, "--data", f"{R}/data/{arm.task}", "--checkpoints", folder / "train/checkpoints"]
    return [*given, "--scores", folder / "score", "--out", folder / "ablate"]


def attribute_job(arm, seed, folder):
    """What `reinduce attribute` is asked for."""
    given = ["--train", f"{R}/{arm.study}/{arm.arm}/train.json", "--seed", seed, "--data", f"{R}/data/{arm.task}"]
    return [*given, "--checkpoints", folder / "train/checkpoints", "--out", folder / "attribute"]
