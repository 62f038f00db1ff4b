"""What heads do to losses: every head at every checkpoint, and sets of heads at the last.

Required: a run's checkpoints, its scores (which heads, which window), ablate.json.
Output: ablate/ablations.parquet for each seed.
"""

for batch in with_table("ablations"):

    rule:
        name:
            rule_name("ablate", batch.name)
        input:
            ablate=specifications(batch, "ablate"),
            train=specifications(batch, "train"),
            measure=specifications(batch, "measure"),
            data=data_of_batch(batch),
            checkpoints=files(batch, layout.checkpoint_files),
            # The last checkpoint's scores say which heads, the trajectories which window.
            scores=files(batch, lambda folder, arm: layout.score_files(folder, arm)[-1:]),
            windows=files(batch, lambda folder, arm: [folder / "score/trajectories.parquet"]),
            sources=sources_for("ablate", batch),
        output:
            files(batch, lambda folder, arm: [folder / "ablate/ablations.parquet"]),
        log:
            f"{R}/logs/ablate/{job_name(batch)}.log",
        benchmark:
            f"{R}/benchmarks/ablate/{job_name(batch)}.tsv"
        priority: 2000
        threads: 1
        resources:
            **needs(megabytes=2000, minutes=20 + batch.cost / 30),
        params:
            rule=rule_name("ablate", batch.name),
            work=work(batch, ablate_job),
        message:
            f"ablate: {job_name(batch, '{wildcards.seed}')}"
        shell:
            "reinduce ablate --rule {params.rule:q} {wildcards} --log {log:q} {params.work:q}"
