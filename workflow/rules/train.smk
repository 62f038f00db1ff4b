"""Arms become checkpoints: one job a seed, one thread each.

Required: results/<study>/<arm>/train.json, the task's data.
Output: train/checkpoints/step*.safetensors, train_log.parquet, run.parquet for each seed.
What an interrupted run resumes from lies in train/resume, which no rule declares and so
no failure deletes. There is a rule for every arm, since each has its own checkpoints.
"""

for name, run in resolved.runs.items():
    folder = Path(R, name, "seed{seed}")

    rule:
        name:
            rule_name("train", name)
        input:
            arm=f"{R}/{name}/train.json",
            data=layout.data_files(R, run.arm.task),
            sources=sources("reinduce.train"),
        output:
            log=folder / "train/train_log.parquet",
            run=folder / "train/run.parquet",
            checkpoints=layout.checkpoint_files(folder, run.arm),
        log:
            f"{R}/logs/train/{name}/seed{{seed}}.log",
        benchmark:
            f"{R}/benchmarks/train/{name}/seed{{seed}}.tsv"
        priority: cost(run.arm)
        threads: 1
        resources:
            mem_mb=2000,
            runtime=120,
        params:
            data=lambda w, input: Path(input.data[0]).parent,
            out=subpath(output.run, parent=True),
        message:
            f"train: {name} seed {{wildcards.seed}}"
        shell:
            "reinduce train {input.arm:q} --seed {wildcards.seed} --data {params.data:q}"
            " --out {params.out:q} --log {log:q}"
