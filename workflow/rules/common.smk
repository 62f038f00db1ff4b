"""Loads and validates the configuration, and names what all rules share.

Required: config.yaml and the files that it names; `config`, which the command line puts over it.
Output: the settings that jobs read, in the folder of results: config.json, each task's task.json, each arm's and each
claim's JSON files. Files whose content has not changed stay as they are.
Steps: resolve and check everything, write the settings, plan. `plan` computes what each rule reads, writes and runs
(`reinduce.cluster.plan`); RESULTS is the folder of results.
"""

from pathlib import Path

from snakemake.exceptions import WorkflowError

from reinduce.cli import format_user_error
from reinduce.cluster.checkpoints import cache_records, update_once_for_many
from reinduce.cluster.orphans import QueueError, cancel_orphan_jobs
from reinduce.cluster.plan import Plan
from reinduce.cluster.polling import stop_polling
from reinduce.cluster.resolve import resolve
from reinduce.config.resolved import write_resolved
from reinduce.config.user_config import NAME, STUDY
from reinduce.config.validate import ConfigError

try:
    resolved = resolve(config, root=Path(workflow.basedir))
    write_resolved(resolved, given=config)
except (ConfigError, OSError) as error:
    raise WorkflowError(format_user_error(error)) from None

plan = Plan(resolved)
RESULTS = plan.results

# Every training needs data. The priority of a training is its estimated time.
BEFORE_TRAININGS = 1000
# Short jobs run as soon as they are ready: pending jobs make the scheduler check their inputs repeatedly.
WHEN_READY = 2000


wildcard_constraints:
    study=STUDY,
    arm=NAME,
    seed=r"\d+",
    task=r"[a-z0-9_.]+",
    claim=NAME,
    look=r"\d+",


def find_taken_look(wildcards):
    """The file of a look at a claim once that look was taken; Snakemake asks again after it."""

    def find(look):
        return checkpoints.look.get(study=wildcards.study, claim=wildcards.claim, look=look).output[0]

    return find
