"""What is computed on frozen sets, against slow and obvious versions."""

import pytest
import torch
from reinduce.task.evaluation import copyable, in_context_score, loss_indices, read_examples
from reinduce.task.specs import EvaluationSpec

from reinduce.config.metric_settings import PositionRanges


def slow_copyable(example):
    """The definition, word for word."""
    found = [False] * len(example)
    for t in range(2, len(example)):
        earlier = {(example[s - 1], example[s]) for s in range(2, t)}
        found[t] = (example[t - 1], example[t]) in earlier
    return found


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 30), (6, 40), (100, 60), (3, 3), (3, 2)])
def test_copyable_is_its_definition(vocabulary, length):
    generator = torch.Generator().manual_seed(vocabulary)
    tokens = torch.randint(0, vocabulary, (40, length), generator=generator)
    tokens[:, 0] = 0
    assert copyable(tokens).tolist() == [slow_copyable(example) for example in tokens.tolist()]


def test_copyable_tokens_of_a_known_sequence():
    #                       0  a  b  c  a  b  a  a  a
    tokens = torch.tensor([[0, 1, 2, 3, 1, 2, 1, 1, 1]])
    assert copyable(tokens).long().tolist() == [[0, 0, 0, 0, 0, 1, 0, 0, 1]]


def test_the_start_token_is_no_predecessor():
    tokens = torch.tensor([[0, 1, 0, 1, 0, 1]])
    assert copyable(tokens).long().tolist() == [[0, 0, 0, 0, 1, 1]]


PAIR = PositionRanges(early=(1, 2), late=(4, 4))
LOSSES = torch.tensor([[5.0, 3.0, 9.0, 1.0], [4.0, 4.0, 9.0, 2.0]])


def test_score_is_late_minus_early_and_negative_for_learning_in_context():
    assert in_context_score(LOSSES, PAIR) == 1.5 - 4.0


def test_score_of_masked_tokens_only():
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert in_context_score(LOSSES, PAIR, mask) == 2.0 - 5.0


def test_score_is_none_where_the_mask_leaves_nothing():
    mask = torch.ones_like(LOSSES, dtype=torch.bool)
    mask[:, 3] = False
    assert in_context_score(LOSSES, PAIR, mask) is None


def test_a_pair_beyond_the_context_is_said():
    with pytest.raises(ValueError, match="token indices 4 to 5 reach beyond the last of the context, 4"):
        in_context_score(LOSSES, PositionRanges(early=(1, 2), late=(4, 5)))


@pytest.mark.parametrize("read", [read_examples, loss_indices])
def test_missing_and_damaged_sets_are_named(tmp_path, read):
    path = tmp_path / "heldout.parquet"
    with pytest.raises(FileNotFoundError, match="heldout.parquet: no such evaluation set; `reinduce data` makes it"):
        read(path)
    path.write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match="heldout.parquet: not such an evaluation set .* make it again"):
        read(path)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="repeated_examples must be positive, not 0"):
        EvaluationSpec(heldout_examples=5, repeated_examples=0)
    with pytest.raises(ValueError, match="repeats must be 2 or more, not 1"):
        EvaluationSpec(heldout_examples=5, repeats=1)
