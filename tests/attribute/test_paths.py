"""Path patching: the batched sweep against the general intervention, and that against patching by hand."""

import pytest
import torch

from reinduce.attribute.paths import path_patching
from reinduce.model.ablation_values import collect_ablation_values
from reinduce.model.interventions import Intervention
from reinduce.model.paths import path_intervention, sites_between
from reinduce.model.transformer import token_losses

VARIANTS = {
    "two layers": {},
    "three layers with MLPs": {"n_layers": 3, "mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
    "rotary": {"positions": "rotary", "n_layers": 3},
    "clamped": {"clamps": [{"type": "force_previous_token", "layer": 0}], "n_layers": 3},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@variants
def test_every_edge_of_the_sweep_equals_two_ordinary_passes(make_model, tokens, changes):
    """One edge, two full forward passes: freeze everything in between, then recompute everything after."""
    model = make_model(**changes)
    values = collect_ablation_values(model, tokens)
    seen = set()
    for rows, paths, losses in path_patching(model, tokens, values):
        for ((layer, head), (target, receiver), kind), swept in zip(paths, losses, strict=True):
            put = values.select("mean", layer, rows)[:, :, head]
            source = [Intervention(f"blocks.{layer}.attn.z", put, head)]
            end = path_intervention(model, tokens[rows], source, f"blocks.{target}.attn.{kind}", receiver)
            plain = token_losses(model(tokens[rows], [end])[0], tokens[rows])
            assert (swept - plain).abs().max() < 1e-5
            seen.add(((layer, head), (target, receiver), kind))
    layers, heads = model.spec.n_layers, model.spec.n_heads
    assert len(seen) == layers * (layers - 1) // 2 * heads * heads * 3


def test_the_direct_path_to_the_end_is_what_the_head_writes(make_model, tokens):
    """Without anything in between, an ablated head's effect on the stream is minus its output."""
    model = make_model(n_layers=3, mlp_ratio=2.0)
    _, clean = model(tokens, names=["blocks.0.attn.head_out", "resid_post"])
    end = path_intervention(model, tokens, [Intervention("blocks.0.attn.z", 0.0, 2)], "resid_post")
    expected = clean["resid_post"] - clean["blocks.0.attn.head_out"][:, :, 2]
    torch.testing.assert_close(end.value, expected, atol=1e-5, rtol=1e-5)


def test_where_nothing_lies_between_the_direct_effect_is_the_total(make_model, tokens):
    model = make_model()
    source = Intervention("blocks.1.attn.z", 0.0, 1)
    direct, _ = model(tokens, [path_intervention(model, tokens, [source], "resid_post")])
    torch.testing.assert_close(direct, model(tokens, [source])[0], atol=1e-5, rtol=1e-5)


def test_direct_and_indirect_differ_where_a_layer_lies_between(make_model, tokens):
    model = make_model()
    source = Intervention("blocks.0.attn.z", 0.0, 1)
    direct, _ = model(tokens, [path_intervention(model, tokens, [source], "resid_post")])
    assert (direct - model(tokens, [source])[0]).abs().max() > 1e-3


def test_a_path_must_run_forward(make_model, tokens):
    model = make_model()
    with pytest.raises(ValueError, match=r"no path from 'blocks.1.attn.z' to 'blocks.0.attn.k'"):
        path_intervention(model, tokens, [Intervention("blocks.1.attn.z", 0.0, 1)], "blocks.0.attn.k")
    with pytest.raises(ValueError, match="no site 'blocks.7.attn.k'; there are: embed"):
        path_intervention(model, tokens, [Intervention("blocks.1.attn.z", 0.0, 1)], "blocks.7.attn.k")


def test_frozen_outputs_lie_between_source_and_target(make_model):
    model = make_model(n_layers=3, mlp_ratio=2.0)
    assert sites_between(model, "blocks.0.attn.z", "blocks.2.attn.q") == [
        "blocks.0.mlp_out",
        "blocks.1.attn_out",
        "blocks.1.mlp_out",
    ]
    assert sites_between(model, "blocks.0.mlp_out", "blocks.1.attn.k") == []
    assert sites_between(model, "embed", "blocks.1.mlp_out") == [
        "blocks.0.attn_out",
        "blocks.0.mlp_out",
        "blocks.1.attn_out",
    ]
