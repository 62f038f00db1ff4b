"""The frozen evaluation sets have their shapes, repeat only what they should, and never change."""

import pyarrow.parquet as pq
import pytest
import torch

from reinduce.config.task_definition import read_task
from reinduce.tasks.evaluation_sets import read_set
from reinduce.trace.files import sha256

SPEC = {"vocab_size": 128, "n_ctx": 64}


@pytest.fixture
def folder(prepare):
    made, folder = prepare("repeated_phrases", SPEC, {"repeat_length": 15, "repeats": 4, "heldout_examples": 300})
    assert [path.name for path in made.outputs] == ["heldout.parquet", "repeated.parquet", "random.parquet"]
    assert made.manifest == folder / "manifest.json"
    return folder


def test_files_have_the_declared_columns(folder):
    for name, columns in {
        "heldout": {"example": "int32", "tokens": "list<element: int32>", "loss_index": "int32"},
        "repeated": {"example": "int32", "tokens": "list<element: int32>"},
        "random": {"example": "int32", "tokens": "list<element: int32>"},
    }.items():
        found = pq.read_schema(folder / f"{name}.parquet")
        assert {field.name: str(field.type) for field in found} == columns


def test_repeated_tokens_are_distinct_and_come_again_in_order(folder):
    tokens = read_set(folder, "repeated").tokens
    assert tokens.shape == (10, 1 + 4 * 15) and tokens.dtype == torch.int64
    assert (tokens[:, 0] == 0).all()
    repeats = tokens[:, 1:].view(10, 4, 15)
    assert (repeats == repeats[:, :1]).all()
    assert all(len(set(row)) == 15 and 0 not in row for row in repeats[:, 0].tolist())


def test_random_tokens_are_distinct_and_not_those_of_the_repeated_set(folder):
    tokens = read_set(folder, "random").tokens
    assert tokens.shape == (10, 1 + 15)
    assert all(len(set(row)) == 16 for row in tokens.tolist())
    assert not torch.equal(tokens, read_set(folder, "repeated").tokens[:, :16])


def test_loss_indices_lie_behind_the_start_token_and_reach_the_end(folder):
    index = read_set(folder, "heldout").column("loss_index")
    assert index.shape == (300,) and index.dtype == torch.int64
    assert index.min() == 1 and index.max() == 63


def test_heldout_documents_are_in_no_training_run(folder):
    task = read_task(folder / "task.json")
    heldout = {tuple(example) for example in read_set(folder, "heldout").tokens.tolist()}
    assert len(heldout) == 300
    for seed in range(3):
        stream = task.training_stream(folder, seed)
        trained = {tuple(document) for step in range(50) for document in stream.batch(step, 32).tolist()}
        assert not trained & heldout


def test_running_again_makes_the_same_bytes(folder, prepare):
    again, _ = prepare(
        "repeated_phrases", SPEC, {"repeat_length": 15, "repeats": 4, "heldout_examples": 300}, out="again"
    )
    assert all(sha256(path) == sha256(folder / path.name) for path in again.outputs)


def test_a_task_already_in_place_is_left_alone(folder, prepare):
    task = folder / "task.json"
    before = task.stat().st_mtime_ns
    prepare("repeated_phrases", SPEC, {"repeat_length": 15, "repeats": 4, "heldout_examples": 300})
    assert task.stat().st_mtime_ns == before
