"""Pictures and the ledger's front page.

Required: the runs' tables, the ledger.
Output: results/figures/<study>.<figure>.{ipynb,html}, results/index.html.
"""

for key, figure in FIGURES:

    rule:
        name:
            rule_name("figure", f"{key}.{figure}")
        input:
            drawn=layout.drawn_files(R, figure_tables(key, figure), figure_runs(key, figure)),
            notebook=f"{resolved.folders[key]}/figures/{figure}.py",
            sources=sources("figure"),
        output:
            notebook=f"{R}/figures/{key}.{figure}.ipynb",
            page=report(
                f"{R}/figures/{key}.{figure}.html",
                caption=str(Path(resolved.folders[key], "figures", f"{figure}.rst").resolve()),
                category=resolved.studies[key].figures[figure].category,
                labels={"study": key, "figure": resolved.studies[key].figures[figure].title},
            ),
        log:
            f"{R}/logs/figure/{key}.{figure}.log",
        benchmark:
            f"{R}/benchmarks/figure/{key}.{figure}.tsv"
        # At once when ready: for every job that waits, the scheduler looks at all its inputs, again and again.
        priority: 2000
        # Seconds of work: queueing would take longer.
        localrule: True
        threads: 1
        resources:
            **needs(megabytes=2000, minutes=20),
        params:
            rule=rule_name("figure", f"{key}.{figure}"),
            # Two folders up from the page, figures/<name>.html.
            results=subpath(output.page, ancestor=2),
            study=key,
            reads=list(figure_runs(key, figure)),
            tables=figure_tables(key, figure),
            scale=resolved.config.scale,
        message:
            f"figure: {key}.{figure}"
        shell:
            "reinduce figure {input.notebook:q} --results {params.results:q} --study {params.study:q}"
            " --scale {params.scale:q} --reads {params.reads:q} --tables {params.tables:q}"
            " --out-ipynb {output.notebook:q} --out-html {output.page:q} --rule {params.rule:q} {wildcards} --log {log:q}"


rule index:
    input:
        ledger=f"{R}/ledger.json",
        figures=[f"{R}/figures/{key}.{figure}.html" for key, figure in FIGURES],
        sources=sources("index"),
    output:
        f"{R}/index.html",
    log:
        f"{R}/logs/report/index.log",
    benchmark:
        f"{R}/benchmarks/report/index.tsv"
    # Seconds of work: queueing would take longer.
    localrule: True
    threads: 1
    resources:
        **needs(megabytes=1000, minutes=10),
    params:
        rule="index",
    message:
        "index: the ledger's front page"
    shell:
        "reinduce index {input.ledger:q} --figures {input.figures:q} --out {output:q}"
        " --rule {params.rule:q} {wildcards} --log {log:q}"
