"""Tasks become files: training text where there is any, and frozen evaluation sets.

Required: results/data/<task>/task.json (written with the configuration).
Output: results/data/<task>/{heldout,repeated,random}.parquet; source_text also
{tokenizer.json,train.bin,sources.parquet}, synonyms translated.parquet, topics
contexts.parquet, suite answers.parquet.
"""

for task in ("phrases", "synonyms", "topics", "suite", "exemplars"):

    rule:
        name:
            f"data_{task}"
        input:
            task=f"{R}/data/{task}/task.json",
            sources=sources("reinduce.data"),
        output:
            layout.data_files(R, task),
        log:
            f"{R}/logs/data/{task}.log",
        benchmark:
            f"{R}/benchmarks/data/{task}.tsv"
        # Trainings wait for it.
        priority: 1000
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            out=subpath(output[0], parent=True),
        message:
            f"data: {task}"
        shell:
            "reinduce data {input.task:q} --out {params.out:q} --log {log:q}"


rule data_source_text:
    input:
        task=f"{R}/data/source_text/task.json",
        text=own_text(),
        sources=sources("reinduce.data"),
    output:
        layout.data_files(R, "source_text"),
    log:
        f"{R}/logs/data/source_text.log",
    benchmark:
        f"{R}/benchmarks/data/source_text.tsv"
    # Several trainings wait for it.
    priority: 1000
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=subpath(output[0], parent=True),
    message:
        "data: source_text (tokens of real text)"
    shell:
        "reinduce data {input.task:q} --out {params.out:q} --log {log:q}"
