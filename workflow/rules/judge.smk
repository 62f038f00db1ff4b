"""Judges claims and collects the verdicts.

Required: results/<study>/claims/<claim>.json; for each claim, the tables of the arms that it and its control read.
Output: results/claims/<study>.<claim>.json, results/ledger.parquet, results/ledger.json.
Steps: one job for each claim, then the ledger of all claims. Both run where Snakemake runs, because they take seconds
and would wait longer in a queue.
"""


rule claim:
    input:
        evidence=lambda w: plan.list_evidence(w.study, w.claim),
        claim=f"{RESULTS}/{{study}}/claims/{{claim}}.json",
        sources=plan.stage_sources("judge"),
    output:
        f"{RESULTS}/claims/{{study}}.{{claim}}.json",
    log:
        plan.log_file("judge", "{study}.{claim}"),
    benchmark:
        plan.benchmark_file("judge", "{study}.{claim}")
    priority: WHEN_READY
    localrule: True
    resources:
        **plan.resources(megabytes=1000, minutes=10),
    params:
        rule="claim",
        name="{study}.{claim}",
        results=subpath(output[0], ancestor=2),
    message:
        "judge: {wildcards.study}.{wildcards.claim}"
    shell:
        plan.shell_command(
            "judge", "{params.name:q} --claim {input.claim:q} --results {params.results:q} --out {output:q}"
        )


rule ledger:
    input:
        claims=[f"{RESULTS}/claims/{name}.json" for name in resolved.claims],
        sources=plan.stage_sources("ledger"),
    output:
        f"{RESULTS}/ledger.parquet",
        f"{RESULTS}/ledger.json",
    log:
        plan.log_file("judge", "ledger"),
    benchmark:
        plan.benchmark_file("judge", "ledger")
    priority: WHEN_READY
    localrule: True
    resources:
        **plan.resources(megabytes=1000, minutes=10),
    params:
        rule="ledger",
        out=subpath(output[0], parent=True),
    message:
        "ledger: all verdicts together"
    shell:
        plan.shell_command("ledger", "--claims {input.claims:q} --out-dir {params.out:q}")
