"""Attributes logits to heads.

Required: for each seed, its checkpoints; the evaluation sets of the task; train.json of the arm.
Output: for each seed, attribute/attributions.parquet.
Steps: one job computes the direct effects on logits of the heads of a job group's seeds. Arms that have no such table
are left out.
"""

for attribute in plan.group_rules("attribute"):

    rule:
        name:
            attribute.name
        input:
            **attribute.inputs,
        output:
            attribute.outputs,
        log:
            attribute.log,
        benchmark:
            attribute.benchmark
        priority: WHEN_READY
        resources:
            **plan.resources(megabytes=2000, minutes=10 + attribute.core_seconds / 60),
        params:
            **attribute.params,
        message:
            f"attribute: {attribute.label}"
        shell:
            plan.shell_command("attribute", "{params.jobs:q}")
