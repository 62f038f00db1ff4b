"""Pictures and the ledger's front page.

Required: the runs' tables, the ledger.
Output: results/figures/<study>.<figure>.{ipynb,html}, results/index.html.
"""

FIGURES = [(key, figure) for key, study in resolved.studies.items() for figure in study.figures]
PAGES = [f"{R}/figures/{key}.{figure}.html" for key, figure in FIGURES]
DRAWN = ["score/index_losses", "score/trajectories", "ablate/ablations", "attribute/attributions"]


def templates():
    """The pages' templates, which are sources too."""
    return sorted(Path(path).as_posix() for path in Path("src/reinduce/report/templates").iterdir())


def drawn_by(wildcards):
    """The tables of all runs of a study."""
    names = [name for name, run in resolved.runs.items() if run.arm.study == wildcards.study]
    tasks = sorted({resolved.runs[name].arm.task for name in names})
    tables = [file for name in names for file in files_of("scores", name)]
    tables += [f"{folder}/{file}.parquet" for name in names for folder in folders_of_runs(name) for file in DRAWN]
    return tables + [f"{R}/{wildcards.study}/series/{task}.parquet" for task in tasks]


for key, figure in FIGURES:

    rule:
        name:
            f"figure_{key}_{figure.replace('-', '_')}"
        input:
            drawn_by,
            notebook=f"workflow/studies/{{study}}/{figure}.py",
            sources=sources("reinduce.report") + templates(),
        output:
            notebook=f"{R}/figures/{{study,{key}}}.{figure}.ipynb",
            page=report(
                f"{R}/figures/{{study,{key}}}.{figure}.html",
                caption=f"../report/{figure}.rst",
                category=resolved.studies[key].figures[figure].category,
                labels={"study": key, "figure": resolved.studies[key].figures[figure].title},
            ),
        log:
            f"{R}/logs/figure/{{study}}.{figure}.log",
        benchmark:
            f"{R}/benchmarks/figure/{{study}}.{figure}.tsv"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            results=R,
            scale=resolved.config.scale,
        message:
            f"figure: {key}.{figure}"
        shell:
            "reinduce figure {input.notebook:q} --results {params.results:q} --study {wildcards.study}"
            " --scale {params.scale:q} --out-ipynb {output.notebook:q} --out-html {output.page:q} --log {log:q}"


rule index:
    input:
        ledger=f"{R}/ledger.json",
        figures=PAGES,
        sources=sources("reinduce.report") + templates(),
    output:
        f"{R}/index.html",
    log:
        f"{R}/logs/report/index.log",
    benchmark:
        f"{R}/benchmarks/report/index.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "index: the ledger's front page"
    shell:
        "reinduce index {input.ledger:q} --figures {input.figures:q} --out {output:q} --log {log:q}"
