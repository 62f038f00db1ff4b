"""Metrics of the whole model, on losses whose answer is known."""

import pytest
import torch

from reinduce.config.metric_settings import PositionRanges
from reinduce.metrics.losses import gain_on_repeats, score_in_context

PAIR = PositionRanges(early=(1, 2), late=(4, 4))
LOSSES = torch.tensor([[5.0, 3.0, 9.0, 1.0], [4.0, 4.0, 9.0, 2.0]])


def test_score_is_late_minus_early_and_negative_for_learning_in_context():
    assert score_in_context(LOSSES, PAIR) == 1.5 - 4.0


def test_score_of_masked_tokens_only():
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert score_in_context(LOSSES, PAIR, mask) == 2.0 - 5.0


def test_score_is_none_where_the_mask_leaves_nothing():
    mask = torch.ones_like(LOSSES, dtype=torch.bool)
    mask[:, 3] = False
    assert score_in_context(LOSSES, PAIR, mask) is None


def test_a_pair_beyond_the_context_is_said():
    with pytest.raises(ValueError, match="token indices 4 to 5 reach beyond the last of the context, 4"):
        score_in_context(LOSSES, PositionRanges(early=(1, 2), late=(4, 5)))


def test_a_repeat_is_worth_what_it_saves():
    losses = torch.full((3, 40), 5.0)
    losses[:, 10:] = 1.5
    assert gain_on_repeats(losses, 10) == pytest.approx(3.5)
