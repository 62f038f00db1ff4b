"""Evaluation sets as files: what is written comes back, and what cannot be read is named."""

import pytest
import torch

from reinduce.tasks.evaluation_sets import EvaluationSet, read_set, write_set

TOKENS = torch.tensor([[0, 3, 1], [0, 2, 2]])


@pytest.mark.parametrize(
    "read", [lambda path: EvaluationSet(path).tokens, lambda path: read_set(path.parent, path.stem)]
)
def test_missing_and_damaged_sets_are_named(tmp_path, read):
    path = tmp_path / "heldout.parquet"
    with pytest.raises(FileNotFoundError, match="heldout.parquet: no such evaluation set; `reinduce data` makes it"):
        read(path)
    path.write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match="heldout.parquet: not such an evaluation set .* make it again"):
        read(path)


def test_a_file_that_was_damaged_after_it_was_opened_is_named(tmp_path):
    """Columns are read when they are first asked for: the error is the same then."""
    examples = EvaluationSet(write_set(tmp_path, "heldout", TOKENS, {"loss_index": torch.tensor([1, 2])}))
    assert torch.equal(examples.tokens, TOKENS)
    examples.path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="heldout.parquet: not such an evaluation set .* make it again"):
        examples.column("loss_index")
    assert torch.equal(examples.tokens, TOKENS), "what was read stays"


def test_a_column_that_is_not_there_is_named_with_its_file(tmp_path):
    examples = EvaluationSet(write_set(tmp_path, "heldout", TOKENS))
    message = r"heldout.parquet: not such an evaluation set \(has no column 'loss_index'\); make it again"
    with pytest.raises(ValueError, match=message):
        examples.column("loss_index")


def test_columns_come_back_as_they_were_written(tmp_path):
    columns = {
        "index": torch.tensor([2, 1]),
        "is_answer": torch.tensor([[True, False], [False, True]]),
        "is_first": torch.tensor([True, False]),
        "kind": ["repeat", "recall"],
        "chance": [0.25, 0.1],
    }
    examples = read_set(write_set(tmp_path, "answers", TOKENS, columns).parent, "answers")
    assert examples.names == ["example", "tokens", *columns] and len(examples) == 2
    assert torch.equal(examples.tokens, TOKENS) and examples.tokens.dtype == torch.int64
    for name in ("index", "is_answer", "is_first"):
        assert torch.equal(examples.column(name), columns[name]) and examples.column(name).dtype == columns[name].dtype
    assert examples.column("kind") == ["repeat", "recall"]
    assert examples.column("chance").tolist() == [0.25, 0.1]
    assert examples.column("kind") is examples.column("kind"), "read once"


def test_a_set_without_tokens_annotates_the_examples_of_another(tmp_path):
    examples = EvaluationSet(write_set(tmp_path, "contexts", None, {"table": torch.tensor([4, 0, 1])}))
    assert examples.names == ["example", "table"] and len(examples) == 3
    with pytest.raises(ValueError, match="contexts.parquet: .*has no column 'tokens'"):
        _ = examples.tokens


def test_what_is_derived_from_a_set_is_made_once(tmp_path):
    examples, made = EvaluationSet(write_set(tmp_path, "heldout", TOKENS)), []

    def build(found):
        made.append(found)
        return found.tokens.sum().item()

    assert [examples.derive("sum", build) for _ in range(3)] == [8, 8, 8]
    assert made == [examples]
    assert examples.derive("another", lambda _: 1) == 1
