"""What heads do to losses: every head at every checkpoint, and sets of heads at the last.

Required: a run's checkpoints, its scores (which heads, which window), ablate.json.
Output: ablate/ablations.parquet for each seed.
"""


rule ablate:
    input:
        ablate=f"{R}/{{study}}/{{arm}}/ablate.json",
        train=f"{R}/{{study}}/{{arm}}/train.json",
        measure=f"{R}/{{study}}/{{arm}}/measure.json",
        data=data_of,
        checkpoints=checkpoints_of,
        windows=f"{RUN}/score/trajectories.parquet",
        scores=last_score,
        sources=sources("reinduce.ablate"),
    output:
        f"{RUN}/ablate/ablations.parquet",
    log:
        f"{R}/logs/ablate/{{study}}/{{arm}}/seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/ablate/{{study}}/{{arm}}/seed{{seed}}.tsv"
    priority: 2000
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        data=lambda w, input: Path(input.data[0]).parent,
        checkpoints=lambda w, input: Path(input.checkpoints[0]).parent,
        scores=subpath(input.windows, parent=True),
        out=subpath(output[0], parent=True),
    message:
        "ablate: {wildcards.study}/{wildcards.arm} seed {wildcards.seed}"
    shell:
        "reinduce ablate {input.ablate:q} --train {input.train:q} --measure {input.measure:q}"
        " --seed {wildcards.seed} --data {params.data:q} --checkpoints {params.checkpoints:q}"
        " --scores {params.scores:q} --out {params.out:q} --log {log:q}"
