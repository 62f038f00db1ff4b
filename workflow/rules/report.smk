"""Draws the figures and writes the front page.

Required: the tables that each figure reads, its notebook and its caption; results/ledger.json.
Output: results/figures/<study>.<figure>.ipynb and .html, results/index.html and seeds.html.
Steps: one job for each figure, which runs its notebook, then the front page. All run where Snakemake runs, because
they take seconds and would wait longer in a queue.
"""

for figure in plan.figure_rules():

    rule:
        name:
            figure.name
        input:
            **figure.inputs,
        output:
            notebook=figure.outputs[0],
            page=report(figure.outputs[1], **figure.report_entry),
        log:
            figure.log,
        benchmark:
            figure.benchmark
        priority: WHEN_READY
        localrule: True
        resources:
            **plan.resources(megabytes=2000, minutes=20),
        params:
            **figure.params,
        message:
            f"figure: {figure.label}"
        shell:
            plan.shell_command(
                "figure",
                "{input.notebook:q} {params.options:q} --out-ipynb {output.notebook:q} --out-html {output.page:q}",
            )


rule index:
    input:
        ledger=f"{RESULTS}/ledger.json",
        figures=[f"{RESULTS}/figures/{study}.{figure}.html" for study, figure in plan.figures],
        sources=plan.stage_sources("index"),
    output:
        page=f"{RESULTS}/index.html",
        seeds=f"{RESULTS}/seeds.html",
    log:
        plan.log_file("report", "index"),
    benchmark:
        plan.benchmark_file("report", "index")
    localrule: True
    resources:
        **plan.resources(megabytes=1000, minutes=10),
    params:
        rule="index",
    message:
        "index: the ledger's front page"
    shell:
        plan.shell_command("index", "{input.ledger:q} --figures {input.figures:q} --out {output.page:q}")
