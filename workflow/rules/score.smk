"""Scores every checkpoint.

Required: for each seed, its checkpoints; the evaluation sets of the task; train.json and metrics.json of the arm.
Output: for each seed, score/step*.parquet (each is a target), score/trajectories.parquet and the tables of losses;
for all runs of a study on a task, series/<task>.parquet and series/<task>.trajectories.parquet.
Steps: one job scores all checkpoints of a job group's seeds. Then `series` computes the principal components of the
losses of all runs on a task together.
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


rule series:
    input:
        losses=lambda w: [f"{run}/score/token_losses.parquet" for run in plan.list_folders_on_task(w.study, w.task)],
        windows=lambda w: [f"{run}/score/trajectories.parquet" for run in plan.list_folders_on_task(w.study, w.task)],
        sources=plan.stage_sources("series"),
    output:
        table=f"{RESULTS}/{{study}}/series/{{task}}.parquet",
        trajectories=f"{RESULTS}/{{study}}/series/{{task}}.trajectories.parquet",
    log:
        plan.log_file("series", "{study}.{task}"),
    benchmark:
        plan.benchmark_file("series", "{study}.{task}")
    priority: WHEN_READY
    resources:
        **plan.resources(megabytes=2000, minutes=30),
    params:
        rule="series",
        runs=lambda w: [f"{run}/score" for run in plan.list_folders_on_task(w.study, w.task)],
    message:
        "series: components of losses, {wildcards.study} on {wildcards.task}"
    shell:
        plan.shell_command("series", "--runs {params.runs:q} --out {output.table:q}")
