"""Trains every seed of every arm.

Required: results/<study>/<arm>/train.json, the data of the arm's task; for a grafted arm, the last checkpoint of the
arm that its graft comes from.
Output: for each seed, train/checkpoints/step*.safetensors, train/train_log.parquet, train/run.parquet.
Steps: one rule for each job group, since groups have different checkpoints; a job trains one seed of a long arm or
all seeds of short arms. No rule declares train/resume, so Snakemake does not delete it after a failure, and an
interrupted training resumes from it. Processes and machines are resources: their number changes the time, not the
results.
"""

for train in plan.group_rules("train"):

    rule:
        name:
            train.name
        input:
            **train.inputs,
        output:
            train.outputs,
        log:
            train.log,
        benchmark:
            train.benchmark
        priority: train.core_seconds
        threads: train.resources["processes"]
        resources:
            **train.resources,
        params:
            **train.params,
        message:
            f"train: {train.label}"
        shell:
            plan.shell_command(
                "train",
                "--device {resources.device} --processes {resources.processes} --nodes {resources.nodes} {params.jobs:q}",
            )
