"""Tasks become files: training text where there is any, and frozen evaluation sets.

Required: results/data/<task>/task.json (written with the configuration).
Output: results/data/<task>/{heldout,repeated,random}.parquet; source_text also
{tokenizer.json,train.bin,sources.parquet}.
"""

FROZEN = ["heldout.parquet", "repeated.parquet", "random.parquet"]
TEXT = ["tokenizer.json", "train.bin", "sources.parquet"]


def data_files(task):
    """A task's data folder, file by file."""
    return [f"{R}/data/{task}/{name}" for name in FROZEN + (TEXT if task == "source_text" else [])]


def own_text():
    """What the tokens are made from: the lock, which pins the packages, or the user's own file or folder."""
    spec = resolved.tasks.get("source_text", {}).get("spec", {"source": "packages"})
    return ["envs/lock.txt"] if spec["source"] == "packages" else [spec["path"]]


rule data_phrases:
    input:
        task=f"{R}/data/phrases/task.json",
        sources=sources("reinduce.data"),
    output:
        data_files("phrases"),
    log:
        f"{R}/logs/data/phrases.log",
    benchmark:
        f"{R}/benchmarks/data/phrases.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        out=f"{R}/data/phrases",
    message:
        "data: phrases"
    shell:
        "reinduce data {input.task:q} --out {params.out:q} --log {log:q}"


rule data_source_text:
    input:
        task=f"{R}/data/source_text/task.json",
        text=own_text(),
        sources=sources("reinduce.data"),
    output:
        data_files("source_text"),
    log:
        f"{R}/logs/data/source_text.log",
    benchmark:
        f"{R}/benchmarks/data/source_text.tsv"
    # The longest trainings wait for it.
    priority: 100
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        out=f"{R}/data/source_text",
    message:
        "data: source_text (tokens of real text)"
    shell:
        "reinduce data {input.task:q} --out {params.out:q} --log {log:q}"
