"""Batched ablations against the plain way: one ablation, one full forward pass."""

import itertools

import pytest
import torch

from reinduce.ablate.joint import ABLATIONS, joint_losses
from reinduce.ablate.sweep import pairs_of_heads, single_heads
from reinduce.model import batched_ablation
from reinduce.model.ablation_values import METHODS, collect_ablation_values
from reinduce.model.interventions import Intervention
from reinduce.model.transformer import token_losses

VARIANTS = {
    "one layer": {"n_layers": 1},
    "two layers": {},
    "three layers": {"n_layers": 3, "mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
    "rotary": {"positions": "rotary"},
    "no K-composition": {"clamps": [{"type": "block_k_composition", "layer": 1}]},
    "clamped patterns": {
        "clamps": [
            {"type": "force_previous_token", "layer": 0},
            {"type": "block_previous_token", "layer": 1, "head": 2},
        ]
    },
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def ablate_plainly(model, tokens, heads, method, downstream):
    """Ablate heads in an ordinary forward pass, with patterns frozen downstream or not."""
    names = [f"blocks.{i}.attn.{what}" for i in range(model.spec.n_layers) for what in ("pattern", "z")]
    _, clean = model(tokens, names=names)
    frozen = [n for n in names if n.endswith("pattern")] if downstream == "frozen_patterns" else []
    interventions = [Intervention(n, clean[n]) for n in frozen]
    for layer, head in heads:
        z = clean[f"blocks.{layer}.attn.z"][:, :, head]
        value = {"zero": z * 0, "mean": z.mean(0, keepdim=True).expand_as(z), "resample": torch.cat((z[1:], z[:1]))}
        interventions.append(Intervention(f"blocks.{layer}.attn.z", value[method], head))
    return token_losses(model(tokens, interventions)[0], tokens)


def collected(found, tokens):
    """All of a sweep's losses: (ablation, heads) → [B T-1]; every example must occur once."""
    made, seen = {}, {}
    for rows, name, heads, losses in found:
        for copy, part in zip(heads, losses, strict=True):
            whole = made.setdefault((name, copy), torch.full((tokens.shape[0], tokens.shape[1] - 1), torch.nan))
            whole[rows] = part
            seen.setdefault((name, copy), []).extend(range(len(tokens))[rows])
    assert all(sorted(examples) == list(range(len(tokens))) for examples in seen.values())
    return made


@pytest.fixture(params=[8192, 24], ids=["one pass", "many passes"])
def passes(request, monkeypatch):
    """Results do not depend on how many examples a pass takes."""
    monkeypatch.setattr(batched_ablation, "MAX_TOKENS_PER_PASS", request.param)
    monkeypatch.setattr(batched_ablation, "MAX_LOGITS_PER_PASS", request.param * 40)


@variants
def test_every_single_ablation_equals_an_ordinary_pass(make_model, tokens, changes, passes):
    model = make_model(**changes)
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, collect_ablation_values(model, tokens, rows=4), METHODS), tokens)
    heads = list(itertools.product(range(model.spec.n_layers), range(model.spec.n_heads)))
    assert set(swept) == {(name, (head,)) for name in ABLATIONS for head in heads}
    for (name, selected), losses in swept.items():
        assert (losses - ablate_plainly(model, tokens, selected, *name)).abs().max() < 1e-5


@variants
def test_every_pair_equals_an_ordinary_pass(make_model, tokens, changes, passes):
    model = make_model(**changes)
    with torch.no_grad():
        swept = collected(pairs_of_heads(model, tokens, collect_ablation_values(model, tokens), METHODS), tokens)
    heads = list(itertools.product(range(model.spec.n_layers), range(model.spec.n_heads)))
    assert set(swept) == {(name, pair) for name in ABLATIONS for pair in itertools.combinations(heads, 2)}
    for (name, selected), losses in swept.items():
        assert (losses - ablate_plainly(model, tokens, selected, *name)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ABLATIONS, ids="-".join)
def test_a_joint_ablation_equals_an_ordinary_pass(make_model, tokens, name):
    model = make_model(mlp_ratio=2.0)
    heads = [(0, 1), (1, 0), (1, 3)]
    losses = joint_losses(model, tokens, [(name, heads)], collect_ablation_values(model, tokens))[0]
    assert (losses - ablate_plainly(model, tokens, heads, *name)).abs().max() < 1e-5


def test_full_and_pattern_preserving_differ_below_the_last_layer(make_model, tokens):
    model = make_model()
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, collect_ablation_values(model, tokens), ["zero"]), tokens)
    assert not torch.allclose(swept[("zero", "recomputed"), ((0, 1),)], swept[("zero", "frozen_patterns"), ((0, 1),)])
    assert torch.equal(swept[("zero", "recomputed"), ((1, 1),)], swept[("zero", "frozen_patterns"), ((1, 1),)])


def test_no_intervention_gives_the_clean_losses(make_model, tokens):
    model = make_model()
    losses = joint_losses(model, tokens, [(("zero", "recomputed"), [])], collect_ablation_values(model, tokens))[0]
    torch.testing.assert_close(losses, token_losses(model(tokens)[0], tokens))


def test_an_ideal_pattern_overwrites_the_heads_own(make_model, tokens):
    model = make_model()
    losses = joint_losses(
        model, tokens, [(("ideal_previous_token", "recomputed"), [(0, 1)])], collect_ablation_values(model, tokens)
    )[0]
    _, cache = model(tokens, names=["blocks.0.attn.v"])
    z = cache["blocks.0.attn.v"][:, :, 1].roll(1, dims=1)
    z[:, 0] = cache["blocks.0.attn.v"][:, 0, 1]
    expected = token_losses(model(tokens, [Intervention("blocks.0.attn.z", z, head=1)])[0], tokens)
    assert (losses - expected).abs().max() < 1e-5


def test_noise_has_the_norm_of_the_heads_output_and_leaves_the_heads(make_model, tokens, monkeypatch):
    model, heads = make_model(), [(1, 0), (1, 2)]
    seen = []
    call = type(model).forward

    def record(self, tokens_BT, interventions=(), names=()):
        seen.extend(each for each in interventions if each.add)
        return call(self, tokens_BT, interventions, names)

    monkeypatch.setattr(type(model), "forward", record)
    losses = joint_losses(
        model, tokens, [(("norm_matched", "recomputed"), heads)], collect_ablation_values(model, tokens), seed=3
    )[0]
    out = model(tokens, names=["blocks.1.attn.head_out"])[1]["blocks.1.attn.head_out"][:, :, [0, 2]].sum(dim=2)
    assert [each.site for each in seen] == ["blocks.1.attn_out"]
    torch.testing.assert_close(seen[0].value.norm(dim=-1), out.norm(dim=-1))
    assert (losses - token_losses(model(tokens)[0], tokens)).abs().max() > 1e-3


def test_an_unknown_intervention_is_refused_with_those_that_exist(make_model, tokens):
    model = make_model()
    there_are = r"no intervention median \(recomputed\); there are: zero \(recomputed\), mean \(recomputed\)"
    with pytest.raises(ValueError, match=there_are):
        joint_losses(model, tokens, [(("median", "recomputed"), [(0, 0)])], collect_ablation_values(model, tokens))


def test_a_planted_error_is_detected(make_model, tokens):
    """Ablating the neighbour of the head that is named gives other losses."""
    model = make_model()
    with torch.no_grad():
        swept = collected(single_heads(model, tokens, collect_ablation_values(model, tokens), ["zero"]), tokens)
    wrong = ablate_plainly(model, tokens, [(0, 2)], "zero", "recomputed")
    assert (swept[("zero", "recomputed"), ((0, 1),)] - wrong).abs().max() > 1e-3
