"""Heads' direct effects on logits.

Required: a run's checkpoints, the repeated and random sequences.
Output: attribute/attributions.parquet for each seed.
"""


rule attribute:
    input:
        train=f"{R}/{{study}}/{{arm}}/train.json",
        data=lambda wildcards: [f"{data_of(wildcards)}/{name}" for name in ("repeated.parquet", "random.parquet")],
        checkpoints=checkpoints_of,
        sources=sources("reinduce.attribute"),
    output:
        f"{RUN}/attribute/attributions.parquet",
    log:
        f"{R}/logs/attribute/{{study}}/{{arm}}/seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/attribute/{{study}}/{{arm}}/seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        data=data_of,
        run=RUN,
    message:
        "attribute: {wildcards.study}/{wildcards.arm} seed {wildcards.seed}"
    shell:
        "reinduce attribute --train {input.train:q} --seed {wildcards.seed} --data {params.data:q}"
        " --checkpoints {params.run:q}/train/checkpoints --out {params.run:q}/attribute --log {log:q}"
