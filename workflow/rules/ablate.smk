"""Ablates heads: every head at every checkpoint, and sets of heads at the last checkpoint.

Required: for each seed, its checkpoints, the scores of the last one and the trajectories; the evaluation sets of the
task; train.json, metrics.json and ablate.json of the arm.
Output: for each seed, ablate/ablations.parquet.
Steps: one job ablates the heads of a job group's seeds. The scores select heads, the trajectories give the window of
the phase change. Arms without attention heads are left out.
"""

for ablate in plan.group_rules("ablate"):

    rule:
        name:
            ablate.name
        input:
            **ablate.inputs,
        output:
            ablate.outputs,
        log:
            ablate.log,
        benchmark:
            ablate.benchmark
        priority: WHEN_READY
        resources:
            **plan.resources(megabytes=2000, minutes=20 + ablate.core_seconds / 30),
        params:
            **ablate.params,
        message:
            f"ablate: {ablate.label}"
        shell:
            plan.shell_command("ablate", "{params.jobs:q}")
