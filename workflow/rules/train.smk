"""Arms become checkpoints: one job a seed, one thread each.

Required: results/<study>/<arm>/train.json, the task's data.
Output: train/checkpoints/step*.safetensors, train_log.parquet, run.parquet for each seed.
What an interrupted run resumes from lies in train/resume, which no rule declares and so
no failure deletes.
"""


def cost(arm):
    """Roughly how long a training takes: long ones start first, so that no core idles at the end."""
    model = arm.model
    width = model.layers * model.d_model * (4 + 2 * model.mlp_ratio) + model.vocabulary
    return round(arm.train.steps * arm.train.batch * model.context * model.d_model * width / 1e9) + 1


for name, run in resolved.runs.items():

    rule:
        name:
            f"train_{name.replace('/', '_').replace('-', '_')}"
        input:
            arm=f"{R}/{name}/train.json",
            data=data_files(run.arm.task),
            sources=sources("reinduce.train"),
        output:
            expand(
                f"{R}/{name}/seed{{{{seed}}}}/train/checkpoints/{{step}}.safetensors",
                step=map(checkpoint_name, run.steps),
            ),
            f"{R}/{name}/seed{{seed}}/train/train_log.parquet",
            f"{R}/{name}/seed{{seed}}/train/run.parquet",
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
            data=f"{R}/data/{run.arm.task}",
            out=f"{R}/{name}/seed{{seed}}/train",
        message:
            f"train: {name} seed {{wildcards.seed}}"
        shell:
            "reinduce train {input.arm:q} --seed {wildcards.seed} --data {params.data:q}"
            " --out {params.out:q} --log {log:q}"
