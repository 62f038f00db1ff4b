"""Metrics of runs, on answers, patterns and curves that are planted."""

import math

import pytest
import torch

from reinduce.config.arm_contents import applicable_metrics
from reinduce.config.job_specs import ModelSpec, from_dict
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.metrics.inputs import MetricInputs
from reinduce.model.transformer import Transformer
from reinduce.studies.singh2024 import metrics
from reinduce.studies.singh2024.answers import score_answers
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, sequences

SPEC = FewshotSpec(classes=12, new_classes=7, features=16)
TOKENS = sequences(SPEC, "in_distribution", 300, 3)


def test_answers_are_scored_among_all_labels_and_among_the_two_of_the_context():
    right = torch.nn.functional.one_hot(TOKENS[:, 5], 5).float()
    sure = score_answers(20 * right, TOKENS)
    assert sure["query_accuracy"] == sure["in_context_accuracy"] == 1 and sure["query_loss"] < 1e-6
    in_context = torch.zeros(300, 5).scatter(1, TOKENS[:, [1, 3]], 1.0)
    guess = score_answers(50 * in_context, TOKENS)
    assert guess["query_loss"] == pytest.approx(math.log(2), abs=1e-6)
    outside = score_answers(9 * (1 - in_context) + right, TOKENS)
    assert outside["query_accuracy"] == 0 and outside["in_context_accuracy"] == 1


def test_planted_clamps_have_the_strengths_that_they_plant():
    """A model whose heads are clamped to a match of a given strength, and to the previous token."""
    for strength in (1.0, 0.7, 0.1):
        clamps = [
            {"type": "force_previous_token", "layer": 0, "head": 1},
            {"type": "singh2024.force_match", "layer": 1, "head": 2, "strength": strength},
        ]
        model = model_with(clamps)
        names = [f"blocks.{layer}.attn.pattern" for layer in (0, 1)]
        _, cache = model(TOKENS[:, :5], names=names)
        inputs = inputs_of(model, cache=cache)
        found = {
            metric.__name__: [metric(inputs, layer) for layer in (0, 1)]
            for metric in (metrics.induction_strength, metrics.label_to_exemplar)
        }
        assert found["induction_strength"][1][2].item() == pytest.approx(2 * strength - 1, abs=1e-6)
        assert found["label_to_exemplar"][0][1].item() == pytest.approx(1)
        assert abs(found["induction_strength"][1][0].item()) < 0.3


def test_compositions_are_norms_of_products_of_weights():
    model = model_with([])
    below, last = (block.attn for block in model.blocks)
    found = {
        (kind, upper, lower): value.item()
        for kind in "qkv"
        for lower, values in getattr(metrics, f"{kind}_composition")(inputs_of(model), 1).items()
        for upper, value in enumerate(values)
    }
    assert len(found) == 3 * 4 * 4
    assert metrics.k_composition(inputs_of(model), 0) == {}, "heads of the last layer alone are composed"
    for kind, part in zip("qkv", last.W_QKV.split(32), strict=True):
        for upper, lower in ((0, 3), (2, 1)):
            upper_W, lower_W = part[8 * upper : 8 * upper + 8], below.W_O[:, 8 * lower : 8 * lower + 8]
            expected = (upper_W @ lower_W).norm() / (upper_W.norm() * lower_W.norm())
            assert found[kind, upper, f"0.{lower}"] == pytest.approx(expected.item(), rel=1e-5)


def model_with(clamps):
    values = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 5, "n_ctx": 5, "d_features": 16}
    model = Transformer(from_dict(ModelSpec, values | {"clamps": clamps, "positions": "rotary"})).init_weights(0)
    features = torch.rand(19, 16, generator=torch.Generator().manual_seed(1))
    return model.set_features(features).requires_grad_(False)


def inputs_of(model, **planted):
    settings = MetricSettings(
        icl_position_ranges=[PositionRanges(early=(1, 1), late=(2, 2))], loss_slope_positions=(1, 2)
    )
    return MetricInputs(model, {}, settings, TOKENS, **planted)


def measures(loss):
    """Metrics of a whole run with such a curve of the loss."""
    names = ("learned_step", "solved_step", "plateau_share", "log_loss_concavity")
    curves = {"query_loss:in_distribution": loss}
    return {name: getattr(metrics, name)(curves, None) for name in names}


def exponential(step):
    return 2.0 * math.exp(-step / 20)


def test_an_exponential_fall_is_none_of_a_plateau():
    curve = [(step, exponential(step)) for step in range(0, 200, 2)]
    assert metrics.measure_concavity(curve) == pytest.approx(0, abs=0.02)
    found = measures(curve)
    assert found["learned_step"] == pytest.approx(20 * math.log(2 / (0.4 * math.log(2))), abs=1)
    assert found["solved_step"] == pytest.approx(20 * math.log(20), abs=1)
    assert found["plateau_share"] < 0.3


def test_a_plateau_is_seen_in_both_measures():
    curve = [(step, 0.69 if step < 150 else exponential(step - 150) / 3) for step in range(0, 300, 5)]
    found = measures(curve)
    assert found["plateau_share"] > 0.9 and found["log_loss_concavity"] > 1
    never = measures([(step, 0.69) for step in range(0, 300, 5)])
    assert never == {"learned_step": None, "solved_step": None, "plateau_share": 1.0, "log_loss_concavity": None}


def test_the_curve_with_a_forced_match_is_measured_alike():
    plateau = [(step, 0.69 if step < 150 else exponential(step - 150) / 3) for step in range(0, 300, 5)]
    curves = {"loss_with_forced_match:in_distribution": plateau}
    found = metrics.log_loss_concavity_with_forced_match(curves, None)
    assert found == metrics.measure_concavity(plateau) > 1


def test_a_forced_match_is_that_of_a_clamp_on_the_last_layer():
    free = model_with([])
    clamped = model_with([{"type": "singh2024.force_match", "layer": 1}])
    expected = score_answers(clamped(TOKENS[:, :5])[0][:, -1], TOKENS)["query_loss"]
    assert metrics.loss_with_forced_match(inputs_of(free)) == pytest.approx(expected, abs=1e-6)


SIZES = dict.fromkeys(("heldout_examples", "repeat_length", "repeats")) | {"sequences": 40, "held_out": 30}
SMALL = {"classes": 12, "new_classes": 7, "features": 16}


@pytest.mark.parametrize("is_end", [True, False])
def test_a_checkpoint_is_scored_on_all_sets_and_composed_at_the_ends(score, is_end):
    vectors = torch.rand(19, 16, generator=torch.Generator().manual_seed(1))
    shape = {"positions": "rotary", "n_layers": 2}
    found = score("singh2024.fewshot_classification", SMALL, SIZES, vectors=vectors, is_end=is_end, **shape)
    for name in ("query_loss", "query_accuracy", "in_context_accuracy"):
        assert {f"{name}:{kind}" for kind in ("in_distribution", "relabelled", "novel_classes")} <= set(found.of_model)
    assert "loss_with_forced_match:in_distribution" in found.of_model
    assert [name for name in found.of_model if name.startswith("loss_with")] == [
        "loss_with_forced_match:in_distribution"
    ]
    tokens = found.sets["relabelled"].tokens
    logits, cache = found.model(tokens[:, :5], names=["blocks.1.attn.pattern"])
    plain = score_answers(logits[:, -1], tokens)
    for name, value in plain.items():
        assert found.of_model[f"{name}:relabelled"] == pytest.approx(value, abs=1e-6)
    tokens = found.sets["in_distribution"].tokens
    _, cache = found.model(tokens[:, :5], names=["blocks.1.attn.pattern"])
    strength = metrics.attend_to_right_label(cache["blocks.1.attn.pattern"], tokens)
    assert found.of_heads["induction_strength"][1] == pytest.approx(strength.tolist(), abs=1e-6)
    composed = {f"{kind}_composition:0.{lower}" for kind in "qkv" for lower in range(4)}
    assert {name for name in found.of_heads if "composition" in name} == (composed if is_end else set())
    n = {row["metric"]: row["n_items"] for row in found.rows}
    assert (n["query_loss:in_distribution"], n["query_loss:novel_classes"], n["induction_strength"]) == (40, 30, 40)


def test_metrics_of_language_are_not_of_this_task():
    sets = ("in_distribution", "relabelled", "novel_classes")
    assert {one.owner for one in applicable_metrics(sets, 2, True, "singh2024").values()} == {"singh2024"}
