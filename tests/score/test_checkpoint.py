"""Measures of a checkpoint, put together: what a model has is measured, and what it lacks is left out."""

import math

import pytest
import torch
from reinduce.score.heads import diagonals, prefix_matching, repeat_offsets
from reinduce.score.losses import heldout_losses, repeat_gain
from reinduce.task.evaluation import read_questions, skill

from reinduce.config.metric_settings import MetricSettings
from reinduce.model.patterns import induction_pattern
from reinduce.score import trajectory
from reinduce.score.checkpoint import head_scores, model_scores, read_frozen_sets


@pytest.fixture
def measured(make_model, prepare, pairs):
    """Head and model scores of a random model on a task."""

    def run(task, **changes):
        _, folder = prepare(task, {"vocab_size": 128, "n_ctx": 128}, out=task)
        sets = read_frozen_sets(folder)
        model = make_model(vocab_size=128, n_ctx=128, **changes)
        losses = [heldout_losses(model, tokens) for tokens in (sets.heldout, sets.repeated)]
        return head_scores(model, sets), model_scores(
            *losses, sets, MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120))
        )

    return run


def test_a_model_without_heads_has_no_scores_of_heads_but_all_of_its_own(measured):
    of_heads, of_model = measured("phrases", mixer="gru")
    assert of_heads == {}
    assert set(of_model) == set(measured("phrases")[1])
    made = trajectory.measures(
        {name: [(0, 4.0), (10, value)] for name, value in of_model.items()}, [], ["112-127/8-13"], 0.3
    )
    assert made["formation_step"] is made["prefix_midpoint"] is None
    assert made["icl_midpoint"] is not None


def test_only_tasks_with_translations_have_fuzzy_scores(measured):
    assert "fuzzy_matching" not in measured("phrases")[0]
    of_heads, _ = measured("synonyms")
    for metric in ("fuzzy_matching", "fuzzy_matching_shuffled"):
        assert len(of_heads[metric]) == 2
        assert all(((values >= 0) & (values < 0.5)).all() for values in of_heads[metric])


def test_a_head_for_meanings_matches_translations_and_one_for_tokens_does_not():
    """Planted patterns on a list of words and its translation."""
    generator = torch.Generator().manual_seed(0)
    said = torch.stack([torch.randperm(63, generator=generator)[:25] + 1 for _ in range(6)])
    start = torch.zeros(6, 1, dtype=torch.int64)
    meanings, tokens = torch.cat((start, said, said), 1), torch.cat((start, said, said + 63), 1)
    for seen, expected in ((meanings, 1.0), (tokens, 0.0)):
        pattern = induction_pattern(seen)[:, None]
        weights = diagonals(pattern, repeat_offsets(25, 51))
        assert prefix_matching(weights, 25).item() == pytest.approx(expected, abs=0.03)


def test_a_repeat_is_worth_what_it_saves():
    losses = torch.full((3, 40), 5.0)
    losses[:, 10:] = 1.5
    assert repeat_gain(losses, 10) == pytest.approx(3.5)


def test_skill_is_nothing_by_chance_and_one_for_certainty():
    member = torch.tensor([[True, False], [True, False]])
    for loss, expected in ((math.log(4), 0.0), (0.0, 1.0), (50.0, -1 / 3)):
        losses = torch.tensor([[loss, 9.0], [loss, 9.0]])
        assert skill(losses, member, 1 / 4).tolist() == pytest.approx([expected] * 2, abs=1e-6)


def test_an_untrained_model_answers_by_chance(measured, tmp_path):
    _, of_model = measured("suite")
    kinds = [asked.kind for asked in read_questions(tmp_path / "suite")]
    skills = [of_model[f"skill:{kind}"] for kind in kinds]
    assert len(skills) == 5 and all(-0.35 < value < 0.1 for value in skills)
