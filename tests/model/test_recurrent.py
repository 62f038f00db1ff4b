"""Recurrences in place of attention: as many parameters, causal, and equal to their formula."""

import pytest
import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.model.interventions import Intervention
from reinduce.model.recurrent import RECURRENCES, GatedLinear, LinearRecurrence, linear_recurrence
from reinduce.model.transformer import Transformer

MIXERS = sorted(RECURRENCES)


def a_model(mixer, d_model=64, **more):
    spec = ModelSpec(n_layers=2, d_model=d_model, n_heads=4, vocab_size=40, n_ctx=32, mixer=mixer, **more)
    return Transformer(spec).init_weights(1)


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("d_model", [32, 64, 128, 256])
@pytest.mark.parametrize("mixer", MIXERS)
def test_as_many_parameters_as_attention(mixer, d_model):
    assert size(a_model(mixer, d_model)) == pytest.approx(size(a_model("attention", d_model)), rel=0.05)


def test_doubling_makes_the_states_of_the_plain_loop():
    generator = torch.Generator().manual_seed(0)
    keep, put = (torch.rand(3, 37, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    state, expected = torch.zeros(3, 5, dtype=torch.float64), []
    for t in range(37):
        state = keep[:, t] * state + put[:, t]
        expected.append(state)
    assert torch.allclose(linear_recurrence(keep, put), torch.stack(expected, dim=1), atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    shape = {"generator": generator, "dtype": torch.float64}
    keep, put = (torch.rand(2, 9, 3, **shape).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(LinearRecurrence.apply, (keep, put))


def test_the_gated_recurrence_is_its_formula():
    """Token by token, with nothing but the definition."""
    layer = GatedLinear(12)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in layer.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
        x = torch.randn(2, 7, 12, generator=generator)
        seen, state, expected = torch.zeros(2, 4, len(layer.W_X)), 0, []
        for t in range(7):
            seen = torch.cat((seen[:, 1:], (x[:, t] @ layer.W_X.T)[:, None]), dim=1)
            u = (seen * layer.W_conv.T).sum(dim=1)
            gate = torch.sigmoid(u @ layer.W_A.T)
            a = torch.exp(-8 * torch.nn.functional.softplus(layer.forgetting) * gate)
            state = a * state + torch.sqrt(1 - a**2) * torch.sigmoid(u @ layer.W_I.T) * u
            expected.append((torch.nn.functional.gelu(x[:, t] @ layer.W_G.T) * state) @ layer.W_O.T)
        assert torch.allclose(layer(x), torch.stack(expected, dim=1), atol=1e-5)


@pytest.mark.parametrize("mixer", MIXERS)
def test_no_token_depends_on_the_future(mixer):
    model = a_model(mixer)
    tokens = torch.randint(40, (2, 32), generator=torch.Generator().manual_seed(2))
    later = tokens.clone()
    later[:, 20:] = (later[:, 20:] + 1) % 40
    before, after = model(tokens)[0], model(later)[0]
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-5)
    assert (before[:, 20:] - after[:, 20:]).abs().max() > 0.01
    # And the first token still matters at the last.
    first = tokens.clone()
    first[:, 0] = (first[:, 0] + 1) % 40
    assert (model(first)[0][:, -1] - before[:, -1]).abs().max() > 1e-6


@pytest.mark.parametrize("mixer", MIXERS)
def test_seeds_decide_every_weight_and_every_weight_learns(mixer):
    one, same, other = a_model(mixer), a_model(mixer), Transformer(a_model(mixer).spec).init_weights(2)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.ndim < 2 or not torch.equal(a, c), name
    one(torch.randint(40, (2, 32)))[0].square().mean().backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_recurrences_output_takes_interventions_and_heads_do_not_exist(mixer):
    model = a_model(mixer)
    tokens = torch.randint(40, (2, 32), generator=torch.Generator().manual_seed(2))
    site = "blocks.1.recurrence_out"
    _, cache = model(tokens, [Intervention(site, 0.0)], names=[site, "resid_post", "blocks.1.resid_pre"])
    assert not cache[site].any()
    assert torch.equal(cache["resid_post"], cache["blocks.1.resid_pre"])
    with pytest.raises(ValueError, match="no site 'blocks.1.attn.pattern'.*blocks.1.recurrence_out"):
        model(tokens, [Intervention("blocks.1.attn.pattern", 0.0, head=1)])


def test_what_needs_attention_is_refused_without():
    with pytest.raises(ValueError, match="clamps and smeared_keys need attention, not a gru"):
        a_model("gru", smeared_keys=True)
    with pytest.raises(ValueError, match="clamps and smeared_keys need attention, not a gated_linear"):
        a_model("gated_linear", clamps=[{"type": "force_previous_token", "layer": 0}])
    with pytest.raises(ValueError, match="mixer must be one of attention, gru, gated_linear, not 'rnn'"):
        a_model("rnn")
