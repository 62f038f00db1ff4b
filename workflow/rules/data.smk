"""Makes the data of each task.

Required: results/data/<task>/task.json, the task's settings; the user's own files, for tasks that read any.
Output: results/data/<task>/: the evaluation sets of the task and what its training stream reads from disk.
Steps: one job for each task, before its trainings. It also runs again if a package that the data depend on has
another version.
"""

for data in plan.data_rules():

    rule:
        name:
            data.name
        input:
            **data.inputs,
        output:
            data.outputs,
        log:
            data.log,
        benchmark:
            data.benchmark
        priority: BEFORE_TRAININGS
        resources:
            **plan.resources(megabytes=4000, minutes=60),
        params:
            **data.params,
        message:
            f"data: {data.label}"
        shell:
            plan.shell_command("data", "{input.task:q} --out {params.out:q}")
