"""Arms become checkpoints: one job a seed, or where runs are short one job for all seeds; one thread each.

Required: results/<study>/<arm>/train.json, the task's data.
Output: train/checkpoints/step*.safetensors, train_log.parquet, run.parquet for each seed.
What an interrupted run resumes from lies in train/resume, which no rule declares and so
no failure deletes. There is a rule for every arm, since each has its own checkpoints.
"""

for name, run in resolved.runs.items():
    folders = job_folders(name, run)

    rule:
        name:
            rule_name("train", name)
        input:
            arm=f"{R}/{name}/train.json",
            data=data_files(run.arm.task),
            donors=donors(run),
            sources=sources("reinduce.train"),
        output:
            log=[folder / "train/train_log.parquet" for folder in folders],
            run=[folder / "train/run.parquet" for folder in folders],
            checkpoints=[file for folder in folders for file in layout.checkpoint_files(folder, run.arm)],
        log:
            f"{R}/logs/train/{job_name(name, run)}.log",
        benchmark:
            f"{R}/benchmarks/train/{job_name(name, run)}.tsv"
        priority: cost(run.arm)
        threads: 1
        resources:
            mem_mb=2000,
            runtime=120,
        params:
            data=lambda w, input: Path(input.data[0]).parent,
            seeds=seeds_of(run),
            donors="--donors" if run.arm.graft else "",
            # The arm's folder, above <seed>/train/train_log.parquet.
            out=subpath(output[0], ancestor=3),
        message:
            f"train: {job_name(name, run, '{wildcards.seed}')}"
        shell:
            "reinduce train {input.arm:q} --seeds {params.seeds} --data {params.data:q}"
            " {params.donors} {input.donors:q} --out {params.out:q} --log {log:q}"
