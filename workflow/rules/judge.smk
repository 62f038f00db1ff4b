"""Evidence becomes verdicts: one target a claim, then the ledger of all.

Required: the claim's JSON, and of the tables that it reads only the arms that it names.
Output: results/claims/<study>.<claim>.json, results/ledger.{parquet,json}.
"""

STAGE_OF = {
    "runs": "train/run",
    "train_log": "train/train_log",
    "index_losses": "score/index_losses",
    "token_losses": "score/token_losses",
    "trajectories": "score/trajectories",
    "ablations": "ablate/ablations",
    "attributions": "attribute/attributions",
}


def evidence_of(wildcards):
    """Every file that a claim and its control read."""
    name = f"{wildcards.study}.{wildcards.claim}"
    if name not in resolved.claims:
        raise WorkflowError(f"no claim {name}; there are: {', '.join(resolved.claims)}")
    return [file for table, arm in reads_of(resolved.claims[name]) for file in files_of(table, arm)]


def files_of(table, name):
    """The files that hold a table's rows of 'study/arm' (or 'study/task')."""
    if table in ("series_trajectories", "loss_components"):
        study, task = name.split("/")
        ending = ".trajectories.parquet" if table == "series_trajectories" else ".parquet"
        return [f"{R}/{study}/series/{task}{ending}"]
    if table == "scores":
        names = [f"score/{checkpoint_name(step)}" for step in resolved.runs[name].steps]
    else:
        names = [STAGE_OF[table]]
    return [f"{folder}/{file}.parquet" for folder in folders_of_runs(name) for file in names]


rule claim:
    input:
        evidence_of,
        claim=f"{R}/{{study}}/claims/{{claim}}.json",
        sources=sources("reinduce.judge"),
    output:
        f"{R}/claims/{{study}}.{{claim}}.json",
    log:
        f"{R}/logs/judge/{{study}}.{{claim}}.log",
    benchmark:
        f"{R}/benchmarks/judge/{{study}}.{{claim}}.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        results=R,
    message:
        "judge: {wildcards.study}.{wildcards.claim}"
    shell:
        "reinduce judge {wildcards.study}.{wildcards.claim} --claim {input.claim:q}"
        " --results {params.results:q} --out {output:q} --log {log:q}"


rule ledger:
    input:
        claims=[f"{R}/claims/{name}.json" for name in resolved.claims],
        sources=sources("reinduce.judge"),
    output:
        f"{R}/ledger.parquet",
        f"{R}/ledger.json",
    log:
        f"{R}/logs/judge/ledger.log",
    benchmark:
        f"{R}/benchmarks/judge/ledger.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        out=R,
    message:
        "ledger: all verdicts together"
    shell:
        "reinduce ledger --claims {input.claims:q} --out-dir {params.out:q} --log {log:q}"
