"""Attention under interventions, and the forward pass's shortcuts, against the plain forward pass."""

import pytest
import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.model.batched_ablation import CleanCache, attention_forward, losses_from_mid
from reinduce.model.intervened_attention import intervened_attention
from reinduce.model.interventions import Intervention, empty_cache
from reinduce.model.sites import site_names
from reinduce.model.transformer import Transformer, token_losses

VARIANTS = {
    "shortformer": {},
    "rotary": {"positions": "rotary"},
    "smeared": {"smeared_keys": True, "mlp_ratio": 2.0},
    "three layers": {"n_layers": 3, "mlp_ratio": 2.0},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@variants
def test_without_interventions_it_is_the_plain_attention(make_model, tokens, changes):
    model = make_model(**changes)
    attn, x = model.blocks[1].attn, model.blocks[1].ln1(model.embed(tokens))
    assert torch.equal(intervened_attention(attn, 1, x), attn(x))


@variants
@pytest.mark.parametrize("kind", ["q", "k", "v", "scores", "pattern", "z", "head_out", "lse"])
def test_capturing_a_site_inside_attention_changes_nothing(make_model, tokens, changes, kind):
    model = make_model(**changes)
    attn, x = model.blocks[1].attn, model.blocks[1].ln1(model.embed(tokens))
    cache = empty_cache([f"blocks.1.attn.{kind}"])
    torch.testing.assert_close(intervened_attention(attn, 1, x, (), cache), attn(x), atol=1e-5, rtol=1e-5)
    assert all(value is not None for value in cache.values())


@variants
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("sites", ["q", "q k", "k v", "q k v", "v scores", "scores", "pattern", "v pattern"])
def test_overwriting_sites_with_their_own_values_changes_nothing(make_model, tokens, changes, layer, sites):
    """Only what is not overwritten is computed: each combination of sites takes another way through the code."""
    model = make_model(**changes)
    names = [f"blocks.{layer}.attn.{kind}" for kind in sites.split()]
    logits, _ = model(tokens)
    _, cache = model(tokens, names=names)
    own = [Intervention(name, cache[name]) for name in names]
    torch.testing.assert_close(model(tokens, own)[0], logits, atol=1e-5, rtol=1e-5)


def test_projections_one_by_one_are_those_of_one_product(make_model, tokens):
    for changes in VARIANTS.values():
        model = make_model(**changes)
        attn, x = model.blocks[0].attn, model.embed(tokens)
        together = attn.qkv(x)
        for kind, part in zip("qkv", together, strict=True):
            torch.testing.assert_close(attn.project(kind, x), part, atol=1e-5, rtol=1e-5)
        for some, part in zip(attn.qkv(x, "qk"), together, strict=False):
            torch.testing.assert_close(some, part, atol=1e-5, rtol=1e-5)


SHORTCUTS = {
    "stream": ["blocks.1.resid_pre"],
    "first stream": ["blocks.0.resid_pre"],
    "two streams": ["blocks.1.resid_pre", "blocks.0.resid_pre"],
    "logits": ["logits"],
    "stream and logits": ["blocks.1.resid_pre", "logits"],
}


@pytest.mark.parametrize("sites", SHORTCUTS.values(), ids=SHORTCUTS)
@pytest.mark.parametrize("rows", [6, 3])
def test_what_an_overwritten_activation_makes_superfluous_is_skipped(make_model, tokens, sites, rows, monkeypatch):
    """A captured embedding forces the whole forward pass; without it, the shortcut gives the same logits."""
    model = make_model(mlp_ratio=2.0)
    _, other = model(tokens.flip(0), names=sites)
    interventions = [Intervention(site, other[site][:rows]) for site in sites]
    interventions.append(Intervention("blocks.1.attn.z", 0.0, head=1))
    interventions += [Intervention(site, 0.5, add=True, positions=[3, 4]) for site in sites]
    whole, _ = model(tokens, interventions, names=["embed"])
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("the embedding was computed"))
    assert torch.equal(model(tokens, interventions)[0], whole)


def test_a_shortcut_ends_below_no_captured_site(make_model, tokens):
    model = make_model()
    names = site_names(model.spec)
    _, clean = model(tokens, names=names)
    _, cache = model(tokens, [Intervention("blocks.1.resid_pre", clean["blocks.1.resid_pre"] + 1)], names=names)
    for name in names[: names.index("blocks.1.resid_pre")]:
        assert torch.equal(cache[name], clean[name])


@variants
def test_the_clean_cache_holds_the_activations_of_the_ordinary_pass(make_model, tokens, changes):
    model = make_model(**changes)
    clean = CleanCache.run(model, tokens)
    _, cache = model(tokens, names=site_names(model.spec))
    for layer in range(model.spec.n_layers):
        for kind in ("q", "k", "v", "z", "pattern"):
            ours = getattr(clean, kind)[layer]
            torch.testing.assert_close(ours, cache[f"blocks.{layer}.attn.{kind}"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clean.resid_pre[layer], cache[f"blocks.{layer}.resid_pre"], atol=1e-5, rtol=1e-5)
        mid = cache[f"blocks.{layer}.resid_pre"] + cache[f"blocks.{layer}.attn_out"]
        torch.testing.assert_close(clean.resid_mid[layer], mid, atol=1e-5, rtol=1e-5)


@variants
@pytest.mark.parametrize("kind", ["recomputed", "frozen_patterns"])
def test_copies_run_from_a_layer_upwards_equal_ordinary_passes(make_model, tokens, changes, kind):
    """Two copies of the batch, one with its stream changed, against two ordinary passes with interventions."""
    model = make_model(**changes)
    clean = CleanCache.run(model, tokens)
    change = torch.randn(model.spec.d_model, generator=torch.Generator().manual_seed(2))
    mid_NTD = torch.cat((clean.resid_mid[0], clean.resid_mid[0] + change))
    losses = losses_from_mid(model, 0, mid_NTD, clean.interventions_above(kind, 0), tokens)
    above = clean.interventions_above(kind, 0)
    for part, value in zip(losses, (0.0, change), strict=True):
        ordinary, _ = model(tokens, [Intervention("blocks.0.attn_out", value, add=True), *above])
        torch.testing.assert_close(part, token_losses(ordinary, tokens), atol=1e-5, rtol=1e-5)


def test_one_layer_of_several_copies_takes_interventions_on_fewer_rows(make_model, tokens):
    model = make_model()
    x = model.embed(tokens)
    _, cache = model(tokens, names=["blocks.0.attn.pattern"])
    frozen = [Intervention("blocks.0.attn.pattern", cache["blocks.0.attn.pattern"])]
    copies = torch.cat((x, 2 * x))
    mid, z = attention_forward(model, 0, copies, frozen)
    for part, mid_part, z_part in zip(copies.split(len(x)), mid.split(len(x)), z.split(len(x)), strict=True):
        expected = attention_forward(model, 0, part, frozen)
        torch.testing.assert_close(mid_part, expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(z_part, expected[1], atol=1e-5, rtol=1e-5)


def test_the_shortest_contexts_equal_the_same_tokens_of_longer_ones():
    """Up to MAX_ELEMENTWISE_TOKENS, attention is computed element by element."""
    model = Transformer(ModelSpec(n_layers=2, d_model=32, n_heads=4, vocab_size=11, n_ctx=12)).init_weights(0)
    tokens = torch.randint(11, (4, 12), generator=torch.Generator().manual_seed(1))
    whole, _ = model(tokens)
    for length in (1, 5, 8, 9):
        torch.testing.assert_close(model(tokens[:, :length])[0], whole[:, :length], atol=1e-5, rtol=1e-5)
