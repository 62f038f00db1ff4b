"""Tasks become files: training text or vectors where there are any, and frozen evaluation sets.

Required: results/data/<task>/task.json (written with the configuration); where a task is made
from the user's own text or vectors, these.
Output: results/data/<task>/…, the files that the task declares: a Parquet file for each evaluation
set, and its training text or vectors where it has any.
"""

for task in resolved.tasks:

    rule:
        name:
            rule_name("data", task)
        input:
            task=f"{R}/data/{task}/task.json",
            own=resolved.tasks[task].user_files(),
            sources=sources("data", (resolved.tasks[task].module,)),
        output:
            data_files(task),
        log:
            f"{R}/logs/data/{task}.log",
        benchmark:
            f"{R}/benchmarks/data/{task}.tsv"
        # Trainings wait for it.
        priority: 1000
        threads: 1
        resources:
            **needs(megabytes=4000, minutes=60),
        params:
            rule=rule_name("data", task),
            out=subpath(output[0], parent=True),
            # Named for the trigger alone: a package of another version makes the data again.
            versions=text_versions(task),
        message:
            f"data: {task}"
        shell:
            "reinduce data {input.task:q} --out {params.out:q} --rule {params.rule:q} {wildcards} --log {log:q}"
