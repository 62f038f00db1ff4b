"""Judges claims, with more seeds while they are undecided, and collects the verdicts.

Required: results/<study>/claims/<claim>.json; for each claim, the tables of the arms that it and its control read.
Output: results/looks/<study>.<claim>/look<k>.json, results/claims/<study>.<claim>.json, results/ledger.parquet,
results/ledger.json.
Steps: a look judges one claim by the seeds that its arms have by then. If more seeds could change its verdict and the
configuration has a further look, that look needs more seeds of the arms that the claim reads, which are then trained
and measured. The claim's verdict is that of its last look; the ledger has all verdicts. All of these run where
Snakemake runs, because they take seconds and would wait longer in a queue.
"""


checkpoint look:
    input:
        evidence=lambda w: plan.list_evidence(w.study, w.claim, int(w.look)),
        claim=f"{RESULTS}/{{study}}/claims/{{claim}}.json",
        sources=plan.stage_sources("look"),
    output:
        f"{RESULTS}/looks/{{study}}.{{claim}}/look{{look}}.json",
    log:
        plan.log_file("look", "{study}.{claim}.{look}"),
    benchmark:
        plan.benchmark_file("look", "{study}.{claim}.{look}")
    priority: WHEN_READY
    localrule: True
    resources:
        **plan.resources(megabytes=1000, minutes=10),
    params:
        rule="look",
        name="{study}.{claim}",
        results=subpath(output[0], ancestor=3),
    message:
        "look {wildcards.look}: {wildcards.study}.{wildcards.claim}"
    shell:
        plan.shell_command(
            "look",
            "{params.name:q} --claim {input.claim:q} --look {wildcards.look} --results {params.results:q} --out {output:q}",
        )


rule claim:
    input:
        looks=lambda w: plan.list_looks(w.study, w.claim, find_taken_look(w)),
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
    message:
        "judge: {wildcards.study}.{wildcards.claim}"
    shell:
        plan.shell_command("judge", "{params.name:q} --claim {input.claim:q} --looks {input.looks:q} --out {output:q}")


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
