"""Evidence becomes verdicts: one target a claim, then the ledger of all.

Required: the claim's JSON, and of the tables that it reads only the arms that it names.
Output: results/claims/<study>.<claim>.json, results/ledger.{parquet,json}.
"""


rule claim:
    input:
        evidence_of,
        claim=f"{R}/{{study}}/claims/{{claim}}.json",
        sources=sources("judge"),
    output:
        f"{R}/claims/{{study}}.{{claim}}.json",
    log:
        f"{R}/logs/judge/{{study}}.{{claim}}.log",
    benchmark:
        f"{R}/benchmarks/judge/{{study}}.{{claim}}.tsv"
    # At once when ready: for every job that waits, the scheduler looks at all its inputs, again and again.
    priority: 2000
    # Seconds of work: queueing would take longer.
    localrule: True
    threads: 1
    resources:
        **needs(megabytes=1000, minutes=10),
    params:
        rule="claim",
        # Two folders up from the verdict, claims/<name>.json.
        results=subpath(output[0], ancestor=2),
    message:
        "judge: {wildcards.study}.{wildcards.claim}"
    shell:
        "reinduce judge {wildcards.study}.{wildcards.claim} --claim {input.claim:q}"
        " --results {params.results:q} --out {output:q} --rule {params.rule:q} {wildcards} --log {log:q}"


rule ledger:
    input:
        claims=[f"{R}/claims/{name}.json" for name in resolved.claims],
        sources=sources("ledger"),
    output:
        f"{R}/ledger.parquet",
        f"{R}/ledger.json",
    log:
        f"{R}/logs/judge/ledger.log",
    benchmark:
        f"{R}/benchmarks/judge/ledger.tsv"
    priority: 2000
    # Seconds of work: queueing would take longer.
    localrule: True
    threads: 1
    resources:
        **needs(megabytes=1000, minutes=10),
    params:
        rule="ledger",
        out=subpath(output[0], parent=True),
    message:
        "ledger: all verdicts together"
    shell:
        "reinduce ledger --claims {input.claims:q} --out-dir {params.out:q} --rule {params.rule:q} {wildcards} --log {log:q}"
