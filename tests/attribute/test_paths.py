"""Path patching: the batched sweep against the general edit, and that against patching by hand."""

import pytest
import torch
from reinduce.model.stand_ins import stand_ins

from reinduce.attribute.paths import path_losses
from reinduce.model.paths import path_edit, sites_between
from reinduce.model.sites import Edit
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
def test_every_path_of_the_sweep_equals_the_plain_way(make_model, tokens, changes):
    """One path, two full forward passes: hold everything between still, then free what follows."""
    model = make_model(**changes)
    puts = stand_ins(model, tokens)
    seen = set()
    for rows, paths, losses in path_losses(model, tokens, puts):
        for ((layer, head), (target, receiver), kind), swept in zip(paths, losses, strict=True):
            put = puts.of("mean", layer, rows)[:, :, head]
            source = [Edit(f"blocks.{layer}.attn.z", put, head)]
            edit = path_edit(model, tokens[rows], source, f"blocks.{target}.attn.{kind}", receiver)
            plain = token_losses(model(tokens[rows], [edit])[0], tokens[rows])
            assert (swept - plain).abs().max() < 1e-5
            seen.add(((layer, head), (target, receiver), kind))
    layers, heads = model.spec.n_layers, model.spec.n_heads
    assert len(seen) == layers * (layers - 1) // 2 * heads * heads * 3


def test_the_direct_path_to_the_end_is_what_the_head_writes(make_model, tokens):
    """Without anything in between, an ablated head's effect on the stream is minus its output."""
    model = make_model(n_layers=3, mlp_ratio=2.0)
    _, intact = model(tokens, capture=["blocks.0.attn.head_out", "resid_post"])
    edit = path_edit(model, tokens, [Edit("blocks.0.attn.z", 0.0, 2)], "resid_post")
    expected = intact["resid_post"] - intact["blocks.0.attn.head_out"][:, :, 2]
    torch.testing.assert_close(edit.value, expected, atol=1e-5, rtol=1e-5)


def test_where_nothing_lies_between_the_direct_effect_is_the_total(make_model, tokens):
    model = make_model()
    source = Edit("blocks.1.attn.z", 0.0, 1)
    direct, _ = model(tokens, [path_edit(model, tokens, [source], "resid_post")])
    torch.testing.assert_close(direct, model(tokens, [source])[0], atol=1e-5, rtol=1e-5)


def test_direct_and_indirect_differ_where_a_layer_lies_between(make_model, tokens):
    model = make_model()
    source = Edit("blocks.0.attn.z", 0.0, 1)
    direct, _ = model(tokens, [path_edit(model, tokens, [source], "resid_post")])
    assert (direct - model(tokens, [source])[0]).abs().max() > 1e-3


def test_a_path_must_run_forward(make_model, tokens):
    model = make_model()
    with pytest.raises(ValueError, match=r"no path from 'blocks.1.attn.z' to 'blocks.0.attn.k'"):
        path_edit(model, tokens, [Edit("blocks.1.attn.z", 0.0, 1)], "blocks.0.attn.k")
    with pytest.raises(ValueError, match="no site 'blocks.7.attn.k'; there are: embed"):
        path_edit(model, tokens, [Edit("blocks.1.attn.z", 0.0, 1)], "blocks.7.attn.k")


def test_what_is_held_still_lies_between(make_model):
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
