"""Checkpoints become measures: one job scores all checkpoints of a seed, or of all seeds of short arms.

Required: a run's checkpoints, the frozen evaluation sets, measure.json.
Output: score/step*.parquet (a target each), trajectories, for language index_losses and
token_losses; and, for all runs of a study on a task, the joint components of their losses.
"""

for batch in BATCHES:

    rule:
        name:
            rule_name("score", batch.name)
        input:
            measure=specifications(batch, "measure"),
            train=specifications(batch, "train"),
            data=data_of_batch(batch),
            checkpoints=files(batch, layout.checkpoint_files),
            sources=sources_for("score", batch),
        output:
            score_outputs(batch),
        log:
            f"{R}/logs/score/{job_name(batch)}.log",
        benchmark:
            f"{R}/benchmarks/score/{job_name(batch)}.tsv"
        # At once when ready: for every job that waits, the scheduler looks at all its inputs, again and again.
        priority: 2000
        threads: 1
        resources:
            **needs(megabytes=2000, minutes=10 + batch.cost / 60),
        params:
            rule=rule_name("score", batch.name),
            work=work(batch, score_job),
        message:
            f"score: {job_name(batch, '{wildcards.seed}')}"
        shell:
            "reinduce score --rule {params.rule:q} {wildcards} --log {log:q} {params.work:q}"


rule series:
    input:
        losses=lambda w: [folder / "score/token_losses.parquet" for folder in folders_on_task(w.study, w.task)],
        windows=lambda w: [folder / "score/trajectories.parquet" for folder in folders_on_task(w.study, w.task)],
        sources=sources("series"),
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
        **needs(megabytes=2000, minutes=30),
    params:
        rule="series",
        runs=lambda w: [folder / "score" for folder in folders_on_task(w.study, w.task)],
    message:
        "series: components of losses, {wildcards.study} on {wildcards.task}"
    shell:
        "reinduce series --runs {params.runs:q} --out {output.table:q} --rule {params.rule:q} {wildcards} --log {log:q}"
