"""Heads' direct effects on logits.

Required: a run's checkpoints, the repeated and random sequences.
Output: attribute/attributions.parquet for each seed.
"""


rule attribute:
    input:
        train=f"{R}/{{study}}/{{arm}}/train.json",
        data=data_of,
        checkpoints=checkpoints_of,
        sources=sources("reinduce.attribute"),
    output:
        f"{RUN}/attribute/attributions.parquet",
    log:
        f"{R}/logs/attribute/{{study}}/{{arm}}/seed{{seed}}.log",
    benchmark:
        f"{R}/benchmarks/attribute/{{study}}/{{arm}}/seed{{seed}}.tsv"
    priority: 2000
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        data=lambda w, input: Path(input.data[0]).parent,
        checkpoints=lambda w, input: Path(input.checkpoints[0]).parent,
        out=subpath(output[0], parent=True),
    message:
        "attribute: {wildcards.study}/{wildcards.arm} seed {wildcards.seed}"
    shell:
        "reinduce attribute --train {input.train:q} --seed {wildcards.seed} --data {params.data:q}"
        " --checkpoints {params.checkpoints:q} --out {params.out:q} --log {log:q}"
