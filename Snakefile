"""The entry point of the workflow: includes the rules and names the default target.

snakemake --cores all                                         everything
snakemake --cores 2 results/claims/<study>.<claim>.json       one claim and what it needs
snakemake --profile slurm                                     on a cluster
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/ablate.smk"
include: "workflow/rules/attribute.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/report.smk"


onstart:
    stop_polling(workflow.scheduler)
    cache_records(workflow.persistence)
    update_once_for_many(workflow.dag)
    # Before any job is submitted. A job of this workflow on another machine must not cancel the others.
    if not workflow.remote_exec:
        try:
            cancel_orphan_jobs(Path.cwd(), strict=workflow.non_local_exec)
        except QueueError as error:
            raise WorkflowError(str(error)) from None


rule all:
    default_target: True
    input:
        # Every score is a target itself, so that Snakemake makes a missing one again, and what depends on it.
        plan.list_score_files(),
        f"{RESULTS}/ledger.parquet",
        f"{RESULTS}/index.html",
    localrule: True
