"""Real text becomes tokens: from a folder, a Parquet column or packages, or with one clear error."""

import json
import logging
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from reinduce.config.task_definition import read_task
from reinduce.tasks.evaluation_sets import read_set
from reinduce.tasks.source_text import SourceTextSpec, common_tokens, heldout_windows, training_tokens
from reinduce.trace.files import sha256

SPEC = {"vocab_size": 300, "n_ctx": 32, "source": "folder", "heldout_share": 0.1}
FILES = ["heldout.parquet", "repeated.parquet", "random.parquet", "tokenizer.json", "train.bin", "sources.parquet"]


@pytest.fixture
def from_folder(prepare, corpus):
    def run(evaluation=None, out="data", **changes):
        return prepare("source_text", SPEC | {"path": str(corpus)} | changes, evaluation, out)

    return run


def split_of(folder) -> dict[str, set[str]]:
    parts = {"train": set(), "heldout": set()}
    for row in pq.read_table(folder / "sources.parquet").to_pylist():
        parts[row["split"]].add(row["name"])
    return parts


def test_a_folder_becomes_all_files(from_folder, texts):
    made, folder = from_folder()
    assert [path.name for path in made.outputs] == FILES
    assert not [path for path in folder.iterdir() if path.name.endswith(".partial")]
    parts = split_of(folder)
    assert len(parts["heldout"]) == 4 and parts["train"] | parts["heldout"] == set(texts)
    assert made.details["texts"] == {"train": 36, "heldout": 4}
    assert made.details["bytes"]["train"] == sum(len(texts[name].encode()) for name in parts["train"])
    assert made.details["packages"] == {}
    tokens = training_tokens(read_task(folder / "task.json").spec, folder)
    assert made.details["tokens"]["train"] == len(tokens)


def test_training_tokens_spell_the_training_files_and_no_other(from_folder, texts):
    _, folder = from_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.token_to_id("<|start|>") == 0 and tokenizer.get_vocab_size() == 300
    tokens = training_tokens(read_task(folder / "task.json").spec, folder).long()
    assert tokens.min() > 0
    spelled, parts = tokenizer.decode(tokens.tolist()), split_of(folder)
    assert len(spelled) == sum(len(texts[name]) for name in parts["train"])
    assert all(texts[name] in spelled for name in parts["train"])
    assert not any(name[6:13] in spelled for name in parts["heldout"])


def test_heldout_windows_are_text_of_heldout_files_spread_over_them(from_folder, texts):
    _, folder = from_folder()
    examples = read_set(folder, "heldout").tokens
    assert examples.shape == (20, 32) and (examples[:, 0] == 0).all() and examples[:, 1:].min() > 0
    assert read_set(folder, "heldout").column("loss_index").shape == (20,)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # One by one: the end of a window and the start of the next can spell another text's number.
    spelled = "|".join(tokenizer.decode(example, skip_special_tokens=True) for example in examples.tolist())
    parts = split_of(folder)
    assert all(name[6:13] in spelled for name in parts["heldout"])
    assert not any(name[6:13] in spelled for name in parts["train"])


def test_heldout_windows_are_even_and_do_not_overlap():
    spec = SourceTextSpec(n_ctx=11, vocab_size=1000)
    examples = heldout_windows(spec, torch.arange(1, 1 + 10 * 9 + 3), 3)
    assert examples[:, 1].tolist() == [1, 31, 61] and examples.shape == (3, 11)
    assert heldout_windows(spec, torch.arange(1, 91), 9)[:, 1].tolist() == list(range(1, 91, 10))


def test_training_windows_are_each_read_once_an_epoch(from_folder):
    _, folder = from_folder()
    task = read_task(folder / "task.json")
    stream = task.training_stream(folder, 0)
    windows = len(stream.windows)
    assert windows == len(training_tokens(task.spec, folder)) // 31
    drawn = torch.cat([stream.batch(step, 1) for step in range(windows)])[:, 1:]
    assert sorted(drawn.tolist()) == sorted(stream.windows.long().tolist())


def test_another_process_makes_the_same_bytes(from_folder, tmp_path):
    made, _ = from_folder()
    run = (
        "import argparse, pathlib; from reinduce.data.command import run_data; "
        f"run_data(argparse.Namespace(task=pathlib.Path({str(tmp_path / 'source_text.json')!r}), "
        f"out=pathlib.Path({str(tmp_path / 'again')!r})))"
    )
    settings = os.environ | {
        "PYTHONHASHSEED": "7",
        "TOKENIZERS_PARALLELISM": "true",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", run], check=True, env=settings)
    assert {p.name: sha256(p) for p in made.outputs} == {
        p.name: sha256(tmp_path / "again" / p.name) for p in made.outputs
    }


def test_a_parquet_column_gives_the_same_tokens_as_the_files(from_folder, prepare, texts, tmp_path):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"id": list(range(41)), "body": [*texts.values(), None]}), path)
    made, folder = prepare("source_text", SPEC | {"source": "parquet", "path": str(path), "column": "body"})
    names = set.union(*split_of(folder).values())
    assert names == {f"texts.parquet#{row:02d}" for row in range(40)}
    assert made.details["texts"] == {"train": 36, "heldout": 4}
    assert read_set(folder, "heldout").tokens.shape == (20, 32)


@pytest.fixture
def package(tmp_path, monkeypatch, texts):
    """An installed distribution 'Readable' 1.2 of forty modules, an empty one, a script and a data file."""
    site = tmp_path / "site"
    files = {f"readable/m{i}.py": content for i, content in enumerate(texts.values())}
    files |= {"readable/__init__.py": "", "readable/table.csv": "a,b\n" * 50, "../bin/run.py": "#!/made/here\n"}
    info = "readable-1.2.dist-info"
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)
    (site / info).mkdir()
    (site / info / "METADATA").write_text("Metadata-Version: 2.1\nName: Readable\nVersion: 1.2\n")
    (site / info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    monkeypatch.syspath_prepend(site)
    return site


def test_packages_give_their_python_files_only(prepare, package):
    made, folder = prepare("source_text", SPEC | {"source": "packages", "packages": ["Readable"]})
    assert made.details["packages"] == {"Readable": "1.2"}
    rows = pq.read_table(folder / "sources.parquet").to_pylist()
    assert {row["name"] for row in rows} == {f"readable/m{i}.py" for i in range(40)}
    assert {(row["package"], row["version"]) for row in rows} == {("Readable", "1.2")}
    assert all(row["sha256"] == sha256(package / row["name"]) for row in rows)


def test_equal_texts_count_once(from_folder, corpus, texts):
    for i, content in enumerate(texts.values()):
        (corpus / f"copy{i}.txt").write_text(content)
    made, _ = from_folder()
    assert sum(made.details["texts"].values()) == len(texts)


def test_the_start_token_never_comes_from_text(from_folder, corpus, texts):
    for name, content in texts.items():
        (corpus / name).write_text(content.replace("head", "<|start|>"))
    _, folder = from_folder()
    task = read_task(folder / "task.json")
    tokens = training_tokens(task.spec, folder).long()
    assert tokens.min() > 0
    assert "<|start|>" in Tokenizer.from_file(str(folder / "tokenizer.json")).decode(tokens[:2000].tolist())


def test_random_tokens_are_neither_rare_nor_frequent(from_folder):
    _, folder = from_folder({"repeat_length": 7})
    task = read_task(folder / "task.json")
    counts = training_tokens(task.spec, folder).long().bincount(minlength=300)
    pool = common_tokens(task.spec, training_tokens(task.spec, folder))
    occurring = int((counts > 0).sum())
    assert len(pool) == occurring - 2 * round(0.05 * occurring) < occurring
    left_out = counts[[i for i in range(300) if counts[i] and i not in pool.tolist()]].sort().values
    half = len(left_out) // 2
    assert left_out[:half].max() <= counts[pool].min() and counts[pool].max() <= left_out[half:].min()
    for name in ("repeated", "random"):
        assert set(read_set(folder, name).tokens[:, 1:].flatten().tolist()) <= set(pool.tolist())


def test_progress_is_logged(from_folder, caplog):
    with caplog.at_level(logging.INFO, logger="reinduce"):
        from_folder()
    assert "source_text: 40 texts" in caplog.text
    assert "training text: 100 % of" in caplog.text


def test_details_can_stand_in_a_manifest(from_folder):
    made, _ = from_folder()
    assert json.loads(json.dumps(made.details)) == made.details
    changed, _ = from_folder(glob="part0/*.txt", evaluation={"heldout_examples": 5}, out="other")
    assert changed.details["digest"] != made.details["digest"]


def refuses(error, message, run):
    """The run stops with this one sentence and leaves nothing behind that looks finished."""
    with pytest.raises(error, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed_is_named(prepare):
    spec = SPEC | {"source": "packages", "packages": ["no-such-thing"]}
    message = "'no-such-thing' is not installed here; install it or take it off the list"
    refuses(ValueError, message, lambda: prepare("source_text", spec))


def test_a_package_with_a_missing_file_is_named(prepare, package):
    (package / "readable" / "m3.py").unlink()
    spec = SPEC | {"source": "packages", "packages": ["Readable"]}
    refuses(FileNotFoundError, r"m3.py: listed by package 'Readable' but missing", lambda: prepare("source_text", spec))


def test_a_missing_folder_is_named(from_folder, tmp_path):
    gone = tmp_path / "gone"
    refuses(FileNotFoundError, "gone: no such folder; set path", lambda: from_folder(path=str(gone)))


def test_an_empty_folder_is_named(from_folder, tmp_path):
    (tmp_path / "bare").mkdir()
    refuses(
        ValueError, r"bare: no file matches '\*\*/\*.txt'; set glob", lambda: from_folder(path=str(tmp_path / "bare"))
    )
    refuses(ValueError, r"corpus: no file matches '\*.md'; set glob", lambda: from_folder(glob="*.md"))


def test_a_file_that_is_not_utf8_is_named_with_the_byte(from_folder, corpus):
    (corpus / "latin.txt").write_bytes(b"caf\xe9 au lait")
    refuses(ValueError, r"latin.txt: not UTF-8 from byte 3 on \(0xe9\); convert it, or leave it out", from_folder)


def test_texts_that_are_all_empty_are_named(from_folder, corpus):
    for path in corpus.rglob("*.txt"):
        path.write_text("")
    refuses(ValueError, "corpus: every text is empty", from_folder)


def test_a_single_text_cannot_be_split(from_folder):
    refuses(ValueError, "part0/text000.txt is the only text: held-out", lambda: from_folder(glob="part0/text000.txt"))


def test_too_little_text_for_the_vocabulary_is_said(from_folder):
    refuses(ValueError, "too little text for a vocabulary of 9000: only", lambda: from_folder(vocab_size=9000))


def test_too_little_text_for_the_heldout_examples_is_said(from_folder):
    message = "held-out part has .* windows of 31 tokens, evaluation.heldout_examples wants 5000; give more text"
    refuses(ValueError, message, lambda: from_folder({"heldout_examples": 5000}))


def test_too_few_common_tokens_are_said(from_folder):
    message = "repeat_length is 15, but only .* tokens are neither"
    refuses(ValueError, message, lambda: from_folder({"repeat_length": 15, "repeats": 2}, excluded_share=0.48))


@pytest.fixture
def from_parquet(prepare, tmp_path):
    def run(column="text", **table):
        path = tmp_path / "texts.parquet"
        if table:
            pq.write_table(pa.table(table), path)
        return prepare("source_text", SPEC | {"source": "parquet", "path": str(path), "column": column})

    return run


def test_wrong_parquet_files_and_columns_are_named(from_parquet, tmp_path):
    refuses(FileNotFoundError, "texts.parquet: no such file; set path to a Parquet file", from_parquet)
    refuses(ValueError, "no column 'text'; there are: body, id", lambda: from_parquet(body=["a"], id=[1]))
    refuses(ValueError, "column 'id' holds int64, not strings", lambda: from_parquet("id", body=["a"], id=[1]))
    refuses(ValueError, "texts.parquet: every text is empty", lambda: from_parquet(text=["", None]))
    (tmp_path / "texts.parquet").write_text("a,b\n1,2\n")
    refuses(ValueError, "texts.parquet: not a Parquet file", from_parquet)


def test_a_row_that_is_not_utf8_is_named(from_parquet):
    broken = pa.array([b"fine", b"ab\xff"]).view(pa.string())
    refuses(
        ValueError, r"texts.parquet, column 'text', row 1: not UTF-8 from byte 2 on", lambda: from_parquet(text=broken)
    )
