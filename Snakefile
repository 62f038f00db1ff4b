"""The front door: reads the configuration, includes the rules, names the targets.

snakemake --cores all                                        everything
snakemake --cores 2 results/claims/olsson2022.abrupt-icl.json   one claim and what it needs
snakemake --profile slurm                                    on a cluster
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
    # Kept as long as this process lives: what it holds says whose the jobs in the queue are.
    claim = claim_queue()


rule all:
    default_target: True
    input:
        # Every score is wanted for itself: one that is missing is made again, and what follows.
        every_score(),
        f"{R}/ledger.parquet",
        f"{R}/index.html",
    localrule: True
