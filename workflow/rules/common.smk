"""What all rules share: the resolved configuration and where things lie.

Required: config (config.yaml with whatever the command line replaces).
Defines: resolved, R (the results folder), and functions from names to paths.
"""

from pathlib import Path

from snakemake.exceptions import WorkflowError

from reinduce.config.load import ConfigError, load, write_resolved
from reinduce.config.specs import checkpoint_name
from reinduce.trace.sources import closure

try:
    resolved = load(config, root=Path(workflow.basedir))
except ConfigError as error:
    raise WorkflowError(str(error)) from None
write_resolved(resolved)

R = resolved.results.as_posix()
RUN = R + "/{study}/{arm}/seed{seed}"


wildcard_constraints:
    study="[a-z0-9_]+",
    arm="[a-z0-9-]+",
    seed=r"\d+",
    task="[a-z_]+",
    claim="[a-z0-9-]+",
    figure="[a-z0-9-]+",


def sources(module):
    """Source files whose edit makes a stage's results stale."""
    return [path.as_posix() for path in closure(module)]


def run_of(wildcards):
    """The resolved arm that a run's wildcards name."""
    name = f"{wildcards.study}/{wildcards.arm}"
    if name not in resolved.runs:
        raise WorkflowError(f"no arm {name}; there are: {', '.join(resolved.runs)}")
    return resolved.runs[name]


def data_of(wildcards):
    """The task's folder of a run."""
    return f"{R}/data/{run_of(wildcards).arm.task}"


def checkpoints_of(wildcards):
    """A run's checkpoints."""
    folder = f"{R}/{wildcards.study}/{wildcards.arm}/seed{wildcards.seed}/train/checkpoints"
    return [f"{folder}/{checkpoint_name(step)}.safetensors" for step in run_of(wildcards).steps]


def folders_of_runs(name):
    """Folders of all seeds of 'study/arm'."""
    return [f"{R}/{name}/seed{seed}" for seed in range(resolved.runs[name].seeds)]


def reads_of(claim):
    """(table, 'study/arm') of all that a claim and its control read; `$name` filled in."""
    found = set()
    for bindings in (claim["with"], claim["with"] | claim["control"]["with"]):
        for table, names in claim["reads"].items():
            for name in names:
                bound = str(bindings[name[1:]]) if name.startswith("$") else name
                found.add((table, bound if "/" in bound else f"{claim['study']}/{bound}"))
    return sorted(found)
