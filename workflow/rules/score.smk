"""Checkpoints become measures: one job scores all checkpoints of a seed.

Required: a run's checkpoints, the frozen evaluation sets, measure.json.
Output: score/step*.parquet (a target each), trajectories, for language index_losses and
token_losses; and, for all runs of a study on a task, the joint components of their losses.
"""

for name, run in resolved.runs.items():
    folder = Path(R, name, "seed{seed}")

    rule:
        name:
            rule_name("score", name)
        input:
            measure=f"{R}/{name}/measure.json",
            train=f"{R}/{name}/train.json",
            data=layout.data_files(R, run.arm.task),
            checkpoints=layout.checkpoint_files(folder, run.arm),
            sources=sources("reinduce.score.command"),
        output:
            layout.score_outputs(folder, run.arm),
        log:
            f"{R}/logs/score/{name}/seed{{seed}}.log",
        benchmark:
            f"{R}/benchmarks/score/{name}/seed{{seed}}.tsv"
        # At once when ready: for every job that waits, the scheduler looks at all its inputs, again and again.
        priority: 2000
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            data=lambda w, input: Path(input.data[0]).parent,
            checkpoints=lambda w, input: Path(input.checkpoints[0]).parent,
            out=subpath(output[0], parent=True),
        message:
            f"score: {name} seed {{wildcards.seed}}"
        shell:
            "reinduce score {input.measure:q} --train {input.train:q} --seed {wildcards.seed} --data {params.data:q}"
            " --checkpoints {params.checkpoints:q} --out {params.out:q} --log {log:q}"


rule series:
    input:
        losses=lambda w: [folder / "score/token_losses.parquet" for folder in folders_on_task(w.study, w.task)],
        windows=lambda w: [folder / "score/trajectories.parquet" for folder in folders_on_task(w.study, w.task)],
        sources=sources("reinduce.score.series"),
    output:
        table=f"{R}/{{study}}/series/{{task}}.parquet",
        turns=f"{R}/{{study}}/series/{{task}}.trajectories.parquet",
    log:
        f"{R}/logs/series/{{study}}.{{task}}.log",
    benchmark:
        f"{R}/benchmarks/series/{{study}}.{{task}}.tsv"
    priority: 2000
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        runs=lambda w: [folder / "score" for folder in folders_on_task(w.study, w.task)],
    message:
        "series: components of losses, {wildcards.study} on {wildcards.task}"
    shell:
        "reinduce series --runs {params.runs:q} --out {output.table:q} --log {log:q}"
