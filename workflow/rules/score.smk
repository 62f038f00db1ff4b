"""Checkpoints become measures: one job scores all checkpoints of a seed.

Required: a run's checkpoints, the frozen evaluation sets, measure.json.
Output: score/step*.parquet (a target each), index_losses, token_losses, trajectories;
and, for all runs of a study on a task, the joint components of their losses.
"""

SCORED = ["index_losses", "token_losses", "trajectories"]

for name, run in resolved.runs.items():

    rule:
        name:
            f"score_{name.replace('/', '_').replace('-', '_')}"
        input:
            measure=f"{R}/{name}/measure.json",
            train=f"{R}/{name}/train.json",
            data=expand(f"{R}/data/{run.arm.task}/{{file}}", file=FROZEN),
            checkpoints=expand(
                f"{R}/{name}/seed{{{{seed}}}}/train/checkpoints/{{step}}.safetensors",
                step=map(checkpoint_name, run.steps),
            ),
            sources=sources("reinduce.score.command"),
        output:
            expand(
                f"{R}/{name}/seed{{{{seed}}}}/score/{{file}}.parquet",
                file=[*map(checkpoint_name, run.steps), *SCORED],
            ),
        log:
            f"{R}/logs/score/{name}/seed{{seed}}.log",
        benchmark:
            f"{R}/benchmarks/score/{name}/seed{{seed}}.tsv"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            data=f"{R}/data/{run.arm.task}",
            checkpoints=f"{R}/{name}/seed{{seed}}/train/checkpoints",
            out=f"{R}/{name}/seed{{seed}}/score",
        message:
            f"score: {name} seed {{wildcards.seed}}"
        shell:
            "reinduce score {input.measure:q} --train {input.train:q} --seed {wildcards.seed} --data {params.data:q}"
            " --checkpoints {params.checkpoints:q} --out {params.out:q} --log {log:q}"


def scored_runs(wildcards):
    """Score folders of all runs of a study on a task."""
    return [
        f"{folder}/score"
        for name, run in resolved.runs.items()
        if (run.arm.study, run.arm.task) == (wildcards.study, wildcards.task)
        for folder in folders_of_runs(name)
    ]


rule series:
    input:
        lambda wildcards: expand("{run}/{file}.parquet", run=scored_runs(wildcards), file=SCORED[1:]),
        sources=sources("reinduce.score.series"),
    output:
        table=f"{R}/{{study}}/series/{{task}}.parquet",
        turns=f"{R}/{{study}}/series/{{task}}.trajectories.parquet",
    log:
        f"{R}/logs/series/{{study}}.{{task}}.log",
    benchmark:
        f"{R}/benchmarks/series/{{study}}.{{task}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        runs=scored_runs,
    message:
        "series: components of losses, {wildcards.study} on {wildcards.task}"
    shell:
        "reinduce series --runs {params.runs:q} --out {output.table:q} --log {log:q}"
