"""Measures of runs on exemplars, on answers, patterns and curves that are planted."""

import math

import pytest
import torch
from reinduce.score.exemplars import OF_HEADS, compositions, measures, non_exponentiality
from reinduce.task import exemplars
from reinduce.task.exemplars import answered

from reinduce.config.job_specs import ModelSpec
from reinduce.model.transformer import Transformer

SPEC = exemplars.Spec(classes=12, new_classes=7, features=16)
TOKENS = exemplars.sequences(SPEC, "trained", 300, 3)


def test_answers_are_scored_among_all_labels_and_among_the_two_of_the_context():
    right = torch.nn.functional.one_hot(TOKENS[:, 5], 5).float()
    sure = answered(20 * right, TOKENS)
    assert sure["accuracy"] == sure["in_context_accuracy"] == 1 and sure["loss"] < 1e-6
    in_context = torch.zeros(300, 5).scatter(1, TOKENS[:, [1, 3]], 1.0)
    guess = answered(50 * in_context, TOKENS)
    assert guess["loss"] == pytest.approx(math.log(2), abs=1e-6)
    outside = answered(9 * (1 - in_context) + right, TOKENS)
    assert outside["accuracy"] == 0 and outside["in_context_accuracy"] == 1


def test_planted_clamps_have_the_strengths_that_they_plant():
    """A model whose heads are clamped to a match of a given strength, and to the previous token."""
    for strength in (1.0, 0.7, 0.1):
        clamps = [
            {"what": "attend_previous", "layer": 0, "head": 1},
            {"what": "match", "layer": 1, "head": 2, "strength": strength},
        ]
        model = model_with(clamps)
        names = [f"blocks.{layer}.attn.pattern" for layer in (0, 1)]
        _, cache = model(TOKENS[:, :5], names=names)
        found = {metric: [of(cache[name], TOKENS) for name in names] for metric, of in OF_HEADS.items()}
        assert found["induction_strength"][1][2].item() == pytest.approx(2 * strength - 1, abs=1e-6)
        assert found["label_to_exemplar"][0][1].item() == pytest.approx(1)
        assert abs(found["induction_strength"][1][0].item()) < 0.3


def test_compositions_are_norms_of_products_of_weights():
    model = model_with([])
    below, last = (block.attn for block in model.blocks)
    found = {(kind, upper, lower): value for kind, upper, lower, value in compositions(model)}
    assert len(found) == 3 * 4 * 4
    for kind, part in zip("qkv", last.W_QKV.split(32), strict=True):
        for upper, lower in ((0, 3), (2, 1)):
            upper_W, lower_W = part[8 * upper : 8 * upper + 8], below.W_O[:, 8 * lower : 8 * lower + 8]
            expected = (upper_W @ lower_W).norm() / (upper_W.norm() * lower_W.norm())
            assert found[kind, upper, f"0.{lower}"] == pytest.approx(expected.item(), rel=1e-5)


def model_with(clamps):
    from reinduce.config.job_specs import from_dict

    values = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 5, "n_ctx": 5, "features": 16}
    model = Transformer(from_dict(ModelSpec, values | {"clamps": clamps, "positions": "rotary"})).init_weights(0)
    features = torch.rand(19, 16, generator=torch.Generator().manual_seed(1))
    return model.set_features(features).requires_grad_(False)


def exponential(step):
    return 2.0 * math.exp(-step / 20)


def test_an_exponential_fall_is_none_of_a_plateau():
    curve = [(step, exponential(step)) for step in range(0, 200, 2)]
    assert non_exponentiality(curve) == pytest.approx(0, abs=0.02)
    found = measures(curve)
    assert found["learned_step"] == pytest.approx(20 * math.log(2 / (0.4 * math.log(2))), abs=1)
    assert found["solved_step"] == pytest.approx(20 * math.log(20), abs=1)
    assert found["plateau_share"] < 0.3


def test_a_plateau_is_seen_in_both_measures():
    curve = [(step, 0.69 if step < 150 else exponential(step - 150) / 3) for step in range(0, 300, 5)]
    found = measures(curve)
    assert found["plateau_share"] > 0.9 and found["non_exponential"] > 1
    never = measures([(step, 0.69) for step in range(0, 300, 5)])
    assert never == {"learned_step": None, "solved_step": None, "plateau_share": 1.0, "non_exponential": None}
