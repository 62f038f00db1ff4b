"""Batched ablations against the plain way: one edit, one full forward pass."""

import itertools

import pytest
import torch
from reinduce.ablate.choose import above, matched_draw

from reinduce.ablate.joint import ABLATIONS, joint_losses
from reinduce.ablate.sweep import pairs_of_heads, single_heads
from reinduce.model import copies
from reinduce.model.sites import Edit
from reinduce.model.stand_ins import METHODS, stand_ins
from reinduce.model.transformer import token_losses

VARIANTS = {
    "one layer": {"layers": 1},
    "two layers": {},
    "three layers": {"layers": 3, "mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
    "rotary": {"positions": "rotary"},
    "no K-composition": {"clamps": [{"what": "keys_read_embedding", "layer": 1}]},
    "clamped patterns": {
        "clamps": [{"what": "attend_previous", "layer": 0}, {"what": "never_attend_previous", "layer": 1, "head": 2}]
    },
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def plainly(model, tokens, heads, kind, method):
    """Replace heads' outputs by an ordinary forward pass, with patterns forced if asked."""
    names = [f"blocks.{i}.attn.{what}" for i in range(model.spec.layers) for what in ("pattern", "z")]
    _, intact = model(tokens, capture=names)
    edits = [Edit(n, intact[n]) for n in names if n.endswith("pattern")] if kind == "pattern_preserving" else []
    for layer, head in heads:
        z = intact[f"blocks.{layer}.attn.z"][:, :, head]
        value = {"zero": z * 0, "mean": z.mean(0, keepdim=True).expand_as(z), "resample": torch.cat((z[1:], z[:1]))}
        edits.append(Edit(f"blocks.{layer}.attn.z", value[method], head))
    return token_losses(model(tokens, edits)[0], tokens)


def collected(found, tokens):
    """All of a sweep's losses: (edit, heads) → [B T-1]; every example must be there once."""
    made, seen = {}, {}
    for rows, edit, heads, losses in found:
        for copy, part in zip(heads, losses, strict=True):
            whole = made.setdefault((edit, copy), torch.full((tokens.shape[0], tokens.shape[1] - 1), torch.nan))
            whole[rows] = part
            seen.setdefault((edit, copy), []).extend(range(len(tokens))[rows])
    assert all(sorted(examples) == list(range(len(tokens))) for examples in seen.values())
    return made


@pytest.fixture(params=[8192, 24], ids=["one pass", "many passes"])
def passes(request, monkeypatch):
    """However many examples a pass takes, results are the same."""
    monkeypatch.setattr(copies, "TOKENS", request.param)
    monkeypatch.setattr(copies, "LOGITS", request.param * 40)


@variants
def test_every_single_ablation_equals_the_plain_way(make_model, tokens, changes, passes):
    model = make_model(**changes)
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, stand_ins(model, tokens, rows=4), METHODS), tokens)
    heads = list(itertools.product(range(model.spec.layers), range(model.spec.heads)))
    assert set(swept) == {(edit, (head,)) for edit in ABLATIONS for head in heads}
    for (edit, chosen), losses in swept.items():
        assert (losses - plainly(model, tokens, chosen, *ABLATIONS[edit])).abs().max() < 1e-5


@variants
def test_every_pair_equals_the_plain_way(make_model, tokens, changes, passes):
    model = make_model(**changes)
    with torch.no_grad():
        swept = collected(pairs_of_heads(model, tokens, stand_ins(model, tokens), METHODS), tokens)
    heads = list(itertools.product(range(model.spec.layers), range(model.spec.heads)))
    assert set(swept) == {(edit, pair) for edit in ABLATIONS for pair in itertools.combinations(heads, 2)}
    for (edit, chosen), losses in swept.items():
        assert (losses - plainly(model, tokens, chosen, *ABLATIONS[edit])).abs().max() < 1e-5


@pytest.mark.parametrize("edit", ABLATIONS)
def test_a_joint_ablation_equals_the_plain_way(make_model, tokens, edit):
    model = make_model(mlp_ratio=2.0)
    heads = [(0, 1), (1, 0), (1, 3)]
    losses = joint_losses(model, tokens, [(edit, heads)], stand_ins(model, tokens))[0]
    assert (losses - plainly(model, tokens, heads, *ABLATIONS[edit])).abs().max() < 1e-5


def test_full_and_pattern_preserving_differ_below_the_last_layer(make_model, tokens):
    model = make_model()
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, stand_ins(model, tokens), ["zero"]), tokens)
    assert not torch.allclose(swept["full", ((0, 1),)], swept["pattern_preserving", ((0, 1),)])
    assert torch.equal(swept["full", ((1, 1),)], swept["pattern_preserving", ((1, 1),)])


def test_no_edit_is_the_intact_model(make_model, tokens):
    model = make_model()
    losses = joint_losses(model, tokens, [("full", [])], stand_ins(model, tokens))[0]
    torch.testing.assert_close(losses, token_losses(model(tokens)[0], tokens))


def test_an_ideal_pattern_is_put_in_place(make_model, tokens):
    model = make_model()
    losses = joint_losses(model, tokens, [("ideal_previous_token", [(0, 1)])], stand_ins(model, tokens))[0]
    _, captured = model(tokens, capture=["blocks.0.attn.v"])
    z = captured["blocks.0.attn.v"][:, :, 1].roll(1, dims=1)
    z[:, 0] = captured["blocks.0.attn.v"][:, 0, 1]
    expected = token_losses(model(tokens, [Edit("blocks.0.attn.z", z, head=1)])[0], tokens)
    assert (losses - expected).abs().max() < 1e-5


def test_noise_is_as_long_as_what_the_heads_say_and_no_head_is_lost(make_model, tokens, monkeypatch):
    model, heads = make_model(), [(1, 0), (1, 2)]
    seen = []
    call = type(model).forward

    def watching(self, tokens_BT, edits=(), capture=()):
        seen.extend(edit for edit in edits if edit.add)
        return call(self, tokens_BT, edits, capture)

    monkeypatch.setattr(type(model), "forward", watching)
    losses = joint_losses(model, tokens, [("norm_matched", heads)], stand_ins(model, tokens), seed=3)[0]
    said = model(tokens, capture=["blocks.1.attn.head_out"])[1]["blocks.1.attn.head_out"][:, :, [0, 2]].sum(dim=2)
    assert [edit.site for edit in seen] == ["blocks.1.attn_out"]
    torch.testing.assert_close(seen[0].value.norm(dim=-1), said.norm(dim=-1))
    assert (losses - token_losses(model(tokens)[0], tokens)).abs().max() > 1e-3


def test_an_unknown_edit_is_refused_with_what_exists(make_model, tokens):
    model = make_model()
    with pytest.raises(ValueError, match="no edit 'median'; there are: full, full_mean"):
        joint_losses(model, tokens, [("median", [(0, 0)])], stand_ins(model, tokens))


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
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, stand_ins(model, tokens), ["zero"]), tokens)
    wrong = plainly(model, tokens, [(0, 2)], "full", "zero")
    assert (swept["full", ((0, 1),)] - wrong).abs().max() > 1e-3
