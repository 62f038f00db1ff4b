"""Arms become checkpoints: a job takes one seed, or all seeds of short arms; one thread each.

Required: results/<study>/<arm>/train.json, the task's data.
Output: train/checkpoints/step*.safetensors, train_log.parquet, run.parquet for each seed.
What an interrupted run resumes from lies in train/resume, which no rule declares and so
no failure deletes. There is a rule for every batch, since each has its own checkpoints.
How many devices and machines share the work is a resource: it changes nothing but time.
"""

for batch in BATCHES:

    rule:
        name:
            rule_name("train", batch.name)
        input:
            arms=specifications(batch, "train"),
            data=data_of_batch(batch),
            donors=donors(batch),
            sources=sources_for("train", batch),
        output:
            tables=files(batch, lambda folder, arm: [folder / "train/train_log.parquet", folder / "train/run.parquet"]),
            checkpoints=files(batch, layout.checkpoint_files),
        log:
            f"{R}/logs/train/{job_name(batch)}.log",
        benchmark:
            f"{R}/benchmarks/train/{job_name(batch)}.tsv"
        priority: batch.cost
        threads: jobs.processes(batch, resolved.cluster)
        resources:
            **jobs.training_needs(batch, resolved.cluster),
        params:
            rule=rule_name("train", batch.name),
            work=work(batch, train_job),
        message:
            f"train: {job_name(batch, '{wildcards.seed}')}"
        shell:
            "reinduce train --device {resources.device} --processes {resources.processes} --nodes {resources.nodes}"
            " --rule {params.rule:q} {wildcards} --log {log:q} {params.work:q}"
