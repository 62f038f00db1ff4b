"""What heads do to losses: every head at every checkpoint, and sets of heads at the last.

Required: a run's checkpoints, its scores (which heads, which window), ablate.json.
Output: ablate/ablations.parquet for each seed.
"""


rule ablate:
    input:
        ablate=f"{R}/{{study}}/{{arm}}/ablate.json",
        train=f"{R}/{{study}}/{{arm}}/train.json",
        measure=f"{R}/{{study}}/{{arm}}/measure.json",
        data=lambda wildcards: f"{data_of(wildcards)}/heldout.parquet",
        checkpoints=checkpoints_of,
        scores=lambda wildcards: last_score(wildcards),
        windows=f"{RUN}/score/trajectories.parquet",
        sources=sources("reinduce.ablate"),
    output:
        f"{RUN}/ablate/ablations.parquet",
    log:
        f"{R}/logs/ablate/{{study}}/{{arm}}/seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/ablate/{{study}}/{{arm}}/seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        data=data_of,
        run=RUN,
    message:
        "ablate: {wildcards.study}/{wildcards.arm} seed {wildcards.seed}"
    shell:
        "reinduce ablate {input.ablate:q} --train {input.train:q} --measure {input.measure:q}"
        " --seed {wildcards.seed} --data {params.data:q} --checkpoints {params.run:q}/train/checkpoints"
        " --scores {params.run:q}/score --out {params.run:q}/ablate --log {log:q}"


def last_score(wildcards):
    """The scores of a run's last checkpoint, by which heads are chosen."""
    step = checkpoint_name(run_of(wildcards).steps[-1])
    return f"{R}/{wildcards.study}/{wildcards.arm}/seed{wildcards.seed}/score/{step}.parquet"
