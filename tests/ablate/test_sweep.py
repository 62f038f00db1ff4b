"""Batched ablations against the plain way: one edit, one full forward pass."""

import pytest
import torch

from reinduce.ablate.choose import above, matched_draw
from reinduce.ablate.sweep import _zero, joint_losses, single_head_losses
from reinduce.model.sites import Edit
from reinduce.model.transformer import token_losses

VARIANTS = {
    "one layer": {"layers": 1},
    "two layers": {},
    "three layers": {"layers": 3},
    "mlp": {"mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def plainly(model, tokens, layer, head, keep_patterns):
    """Zero one head's output by hooking the weights, with later patterns forced if asked."""
    edits = []
    if keep_patterns:
        names = [f"blocks.{i}.attn.pattern" for i in range(model.spec.layers)]
        _, patterns = model(tokens, capture=names)
        edits = [Edit(name, patterns[name]) for name in names]
    W_O, width = model.blocks[layer].attn.W_O, model.spec.d_head
    kept = W_O.clone()
    W_O[:, head * width : (head + 1) * width] = 0
    losses = token_losses(model(tokens, edits)[0], tokens)
    W_O.copy_(kept)
    return losses


@variants
def test_every_single_ablation_equals_the_plain_way(make_model, tokens, changes):
    model = make_model(**changes)
    intact, swept = single_head_losses(model, tokens)
    torch.testing.assert_close(intact, token_losses(model(tokens)[0], tokens), atol=1e-5, rtol=1e-5)
    for edit, keep_patterns in (("full", False), ("pattern_preserving", True)):
        assert len(swept[edit]) == model.spec.layers * model.spec.heads
        for (layer, head), losses in swept[edit].items():
            expected = plainly(model, tokens, layer, head, keep_patterns)
            assert (losses - expected).abs().max() < 1e-5


def test_full_and_pattern_preserving_differ_below_the_last_layer(make_model, tokens):
    _, swept = single_head_losses(make_model(), tokens)
    assert not torch.allclose(swept["full"][0, 1], swept["pattern_preserving"][0, 1])
    assert torch.equal(swept["full"][1, 1], swept["pattern_preserving"][1, 1])


@pytest.mark.parametrize("edit", ["full", "pattern_preserving"])
def test_a_joint_ablation_of_one_head_is_a_single_ablation(make_model, tokens, edit):
    model = make_model()
    swept = single_head_losses(model, tokens)[1][edit]
    for head in ((0, 3), (1, 0)):
        assert (joint_losses(model, tokens, edit, [head]) - swept[head]).abs().max() < 1e-5


def test_no_edit_is_the_intact_model(make_model, tokens):
    model = make_model()
    torch.testing.assert_close(joint_losses(model, tokens, "full", []), token_losses(model(tokens)[0], tokens))


def test_an_ideal_pattern_is_put_in_place(make_model, tokens):
    model = make_model()
    losses = joint_losses(model, tokens, "ideal_previous_token", [(0, 1)])
    _, captured = model(tokens, capture=["blocks.0.attn.v"])
    z = captured["blocks.0.attn.v"][:, :, 1].roll(1, dims=1)
    z[:, 0] = captured["blocks.0.attn.v"][:, 0, 1]
    expected = token_losses(model(tokens, [Edit("blocks.0.attn.z", z, head=1)])[0], tokens)
    assert (losses - expected).abs().max() < 1e-5


def test_an_unknown_edit_is_refused_with_what_exists(make_model, tokens):
    with pytest.raises(ValueError, match="no edit 'mean'; there are: full"):
        joint_losses(make_model(), tokens, "mean", [(0, 0)])


def test_heads_are_chosen_by_their_scores():
    rows = [
        {"layer": layer, "head": head, "metric": metric, "value": value}
        for layer, head, metric, value in [
            (1, 1, "prefix_matching", 0.5),
            (1, 0, "prefix_matching", 0.3),
            (0, 0, "prefix_matching", 0.29),
            (0, 1, "previous_token", 0.9),
            (0, 2, "prefix_matching", None),
        ]
    ]
    assert above(rows, "prefix_matching", 0.3) == [(1, 0), (1, 1)]


def test_random_heads_match_the_layers_as_far_as_these_reach():
    chosen = [(1, 0), (1, 1), (1, 2)]
    for seed in range(20):
        drawn = matched_draw(chosen, layers=2, heads=4, seed=seed)
        assert len(drawn) == 3 == len(set(drawn))
        assert not set(drawn) & set(chosen)
        assert (1, 3) in drawn
    assert matched_draw(chosen, 2, 4, seed=5) == matched_draw(chosen, 2, 4, seed=5)
    assert len({tuple(matched_draw(chosen, 2, 4, seed)) for seed in range(20)}) > 1
    assert matched_draw(chosen + [(0, 0), (0, 1)], 2, 4, seed=0) is None


def test_a_planted_fault_would_be_seen(make_model, tokens):
    """Ablating the neighbour of the head that is named gives other losses."""
    model = make_model()
    wrong = token_losses(model(tokens, _zero(model, tokens, [(0, 2)]))[0], tokens)
    assert (single_head_losses(model, tokens)[1]["full"][0, 1] - wrong).abs().max() > 1e-3
