"""Checkpoints become measures: one job scores all checkpoints of a seed, or of all seeds of an arm.

Required: a run's checkpoints, the frozen evaluation sets, measure.json.
Output: score/step*.parquet (a target each), trajectories, for language index_losses and
token_losses; and, for all runs of a study on a task, the joint components of their losses.
"""

for name, run in resolved.runs.items():
    folders = job_folders(name, run)

    rule:
        name:
            rule_name("score", name)
        input:
            measure=f"{R}/{name}/measure.json",
            train=f"{R}/{name}/train.json",
            data=data_files(run.arm.task),
            checkpoints=[file for folder in folders for file in layout.checkpoint_files(folder, run.arm)],
            sources=sources("reinduce.score.command"),
        output:
            [file for folder in folders for file in layout.score_outputs(folder, run.arm)],
        log:
            f"{R}/logs/score/{job_name(name, run)}.log",
        benchmark:
            f"{R}/benchmarks/score/{job_name(name, run)}.tsv"
        # At once when ready: for every job that waits, the scheduler looks at all its inputs, again and again.
        priority: 2000
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            data=lambda w, input: Path(input.data[0]).parent,
            seeds=seeds_of(run),
            # The arm's folder, above <seed>/score/<checkpoint>.parquet.
            out=subpath(output[0], ancestor=3),
        message:
            f"score: {job_name(name, run, '{wildcards.seed}')}"
        shell:
            "reinduce score {input.measure:q} --train {input.train:q} --seeds {params.seeds} --data {params.data:q}"
            " --out {params.out:q} --log {log:q}"


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
