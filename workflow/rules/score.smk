"""Scores every checkpoint.

Required: for each seed, its checkpoints; the evaluation sets of the task; train.json and metrics.json of the arm.
Output: for each seed, score/step*.parquet (each is a target), score/trajectories.parquet and the tables of losses;
for each run on a task with held-out documents, series/<task>/<arm>.seed<k>.parquet and .trajectories.parquet.
Steps: one job scores all checkpoints of a job group's seeds. Then `series` computes the principal components of the
losses of all runs on a task together, for the seeds of each look.
"""

for score in plan.group_rules("score"):

    rule:
        name:
            score.name
        input:
            **score.inputs,
        output:
            score.outputs,
        log:
            score.log,
        benchmark:
            score.benchmark
        priority: WHEN_READY
        resources:
            **plan.resources(megabytes=2000, minutes=10 + score.core_seconds / 60),
        params:
            **score.params,
        message:
            f"score: {score.label}"
        shell:
            plan.shell_command("score", "{params.jobs:q}")


for series in plan.series_rules():

    rule:
        name:
            series.name
        input:
            **series.inputs,
        output:
            series.outputs,
        log:
            series.log,
        benchmark:
            series.benchmark
        priority: WHEN_READY
        resources:
            **plan.resources(megabytes=2000, minutes=30),
        params:
            **series.params,
        message:
            f"series: {series.label}"
        shell:
            plan.shell_command("series", "{params.options:q}")
