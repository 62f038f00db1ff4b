"""The transformer against plain restatements of what each part should do."""

import math

import pytest
import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.model.interventions import Intervention
from reinduce.model.sites import site_names
from reinduce.model.transformer import Transformer, token_losses

VARIANTS = {
    "attention only": {},
    "mlp": {"mlp_ratio": 2.0},
    "smeared": {"smeared_keys": True},
    "rotary": {"positions": "rotary"},
    "learned": {"positions": "learned"},
    "no positions": {"positions": "none"},
    "no layer norm": {"layer_norm": False},
    "three layers": {"n_layers": 3},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


@variants
def test_capturing_every_site_changes_nothing(make_model, tokens, changes):
    """Fused attention and the written-out pattern give the same logits."""
    model = make_model(**changes)
    fused, _ = model(tokens)
    written, cache = model(tokens, names=site_names(model.spec))
    torch.testing.assert_close(fused, written, atol=1e-5, rtol=1e-5)
    assert all(value is not None for value in cache.values())


@variants
def test_no_token_sees_the_future(make_model, tokens, changes):
    model = make_model(**changes)
    changed = tokens.clone()
    changed[:, 15] = (changed[:, 15] + 1) % 39 + 1
    before, after = model(tokens)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :15], after[:, :15], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[:, 15:], after[:, 15:])


def test_pattern_rows_sum_to_one_over_the_past(make_model, tokens):
    _, cache = make_model()(tokens, names=["blocks.1.attn.pattern"])
    pattern = cache["blocks.1.attn.pattern"]
    torch.testing.assert_close(pattern.sum(dim=-1), torch.ones(pattern.shape[:3]))
    assert pattern.triu(1).abs().max() == 0


def test_heads_add_up_to_the_attention_output(make_model, tokens):
    names = ["blocks.0.attn.head_out", "blocks.0.attn_out"]
    _, cache = make_model()(tokens, names=names)
    torch.testing.assert_close(cache[names[0]].sum(dim=2), cache[names[1]], atol=1e-5, rtol=1e-5)


def test_positions_stay_out_of_the_residual_stream(make_model):
    """With shortformer positions, values of one token are the same wherever it stands."""
    model = make_model()
    same = torch.full((1, 24), 7)
    _, cache = model(same, names=["blocks.0.attn.v", "blocks.0.attn.k"])
    values, keys = cache["blocks.0.attn.v"], cache["blocks.0.attn.k"]
    torch.testing.assert_close(values[0, 3], values[0, 17])
    assert not torch.allclose(keys[0, 3], keys[0, 17])


def test_smeared_keys_mix_each_key_with_its_predecessor(make_model, tokens):
    plain, smeared = make_model(), make_model(smeared_keys=True)
    smeared.load_state_dict(plain.state_dict(), strict=False)
    smeared.blocks[0].attn.smear.data = torch.tensor([0.0, 2.0, -2.0, 50.0])
    keys = [m(tokens, names=["blocks.0.attn.k"])[1]["blocks.0.attn.k"] for m in (plain, smeared)]
    keep = torch.sigmoid(smeared.blocks[0].attn.smear)
    for head in range(4):
        expected = keep[head] * keys[0][:, 1:, head] + (1 - keep[head]) * keys[0][:, :-1, head]
        torch.testing.assert_close(keys[1][:, 1:, head], expected)
    torch.testing.assert_close(keys[1][:, 0], keys[0][:, 0])


def test_rotary_scores_depend_on_distance_only(make_model):
    model = make_model(positions="rotary")
    same = torch.full((1, 24), 7)
    _, cache = model(same, names=["blocks.0.attn.q", "blocks.0.attn.k"])
    q, k = cache["blocks.0.attn.q"][0, :, 0], cache["blocks.0.attn.k"][0, :, 0]
    torch.testing.assert_close(q[10] @ k[7], q[20] @ k[17], atol=1e-5, rtol=1e-4)


def test_loss_of_a_uniform_model_is_the_log_of_the_vocabulary(tokens):
    logits = torch.zeros(*tokens.shape, 40)
    torch.testing.assert_close(token_losses(logits, tokens), torch.full((6, 23), math.log(40)))


def test_token_losses_belong_to_the_predicted_token(tokens):
    logits = torch.nn.functional.one_hot(tokens.roll(-1, dims=1), 40).float() * 100
    assert token_losses(logits, tokens).max() < 1e-6


def test_equal_seeds_give_equal_weights_and_others_do_not(make_model):
    a, b, c = make_model(seed=3), make_model(seed=3), make_model(seed=4)
    assert torch.equal(a.W_E, b.W_E)
    assert not torch.equal(a.W_E, c.W_E)


class TestInterventions:
    def test_an_intervention_equals_a_hook_on_the_plain_model(self, make_model, tokens):
        model = make_model(mlp_ratio=2.0)
        edited, _ = model(tokens, [Intervention("blocks.0.mlp_out", 0.0)])
        handle = model.blocks[0].mlp.register_forward_hook(lambda module, args, output: output * 0)
        hooked, _ = model(tokens)
        handle.remove()
        torch.testing.assert_close(edited, hooked)

    def test_zeroing_a_head_equals_zeroing_its_output_matrix(self, make_model, tokens):
        model = make_model()
        edited, _ = model(tokens, [Intervention("blocks.1.attn.z", 0.0, head=2)])
        model.blocks[1].attn.W_O[:, 16:24] = 0
        torch.testing.assert_close(edited, model(tokens)[0], atol=1e-5, rtol=1e-5)

    def test_an_intervention_on_some_rows_leaves_the_others(self, make_model, tokens):
        model = make_model()
        plain, _ = model(tokens)
        edited, _ = model(tokens, [Intervention("blocks.0.attn.z", 0.0, head=1, rows=slice(2, 4))])
        torch.testing.assert_close(edited[[0, 1, 4, 5]], plain[[0, 1, 4, 5]])
        assert not torch.allclose(edited[2:4], plain[2:4])

    def test_gradients_flow_through_a_value(self, make_model, tokens):
        direction = torch.zeros(32, requires_grad=True)
        make_model()(tokens, [Intervention("resid_post", direction)])[0].sum().backward()
        assert direction.grad.abs().sum() > 0

    @pytest.mark.parametrize(
        ("intervention", "message"),
        [
            (Intervention("blocks.2.attn.z", 0.0), "no site 'blocks.2.attn.z'.*blocks.1.attn.z"),
            (Intervention("blocks.0.mlp_out", 0.0), "no site 'blocks.0.mlp_out'"),
            (Intervention("blocks.0.attn.z", 0.0, head=4), "no head 4.*0 to 3"),
            (Intervention("resid_post", 0.0, head=0), "has no heads"),
        ],
    )
    def test_an_impossible_intervention_is_refused_with_what_exists(self, make_model, tokens, intervention, message):
        with pytest.raises(ValueError, match=message):
            make_model()(tokens, [intervention])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, "5 heads do not divide a width of 32"),
        ({"n_layers": 0}, "layers must be positive"),
        ({"positions": "absolute"}, "shortformer, rotary"),
        ({"positions": "rotary", "d_model": 12}, "even head width"),
    ],
)
def test_an_impossible_model_is_refused(changes, message):
    spec = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 40, "n_ctx": 24} | changes
    with pytest.raises(ValueError, match=message):
        Transformer(ModelSpec(**spec))
