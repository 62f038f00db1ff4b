"""Heads' direct effects on logits.

Required: a run's checkpoints, the repeated and random sequences.
Output: attribute/attributions.parquet for each seed.
"""

for batch in with_table("attributions"):

    rule:
        name:
            rule_name("attribute", batch.name)
        input:
            train=specifications(batch, "train"),
            data=data_of_batch(batch),
            checkpoints=files(batch, layout.checkpoint_files),
            sources=sources_for("attribute", batch),
        output:
            files(batch, lambda folder, arm: [folder / "attribute/attributions.parquet"]),
        log:
            f"{R}/logs/attribute/{job_name(batch)}.log",
        benchmark:
            f"{R}/benchmarks/attribute/{job_name(batch)}.tsv"
        priority: 2000
        threads: 1
        resources:
            **needs(megabytes=2000, minutes=10 + batch.cost / 60),
        params:
            rule=rule_name("attribute", batch.name),
            work=work(batch, attribute_job),
        message:
            f"attribute: {job_name(batch, '{wildcards.seed}')}"
        shell:
            "reinduce attribute --rule {params.rule:q} {wildcards} --log {log:q} {params.work:q}"
