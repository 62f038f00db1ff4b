"""Every kind of intervention against changes by hand, and every impossible one against its message."""

import math

import pytest
import torch

from reinduce.model.interventions import Intervention
from reinduce.model.sites import site_names, site_shape
from reinduce.model.transformer import Transformer, token_losses

T = 24


@pytest.fixture
def model(make_model):
    return make_model(mlp_ratio=2.0)


def test_every_site_has_the_shape_that_is_declared(model, tokens):
    _, cache = model(tokens, names=site_names(model.spec))
    for name, value in cache.items():
        assert tuple(value.shape) == site_shape(model.spec, name, *tokens.shape), name


@pytest.mark.parametrize("positions", [slice(None), slice(5, 9), [3, 17], [20]], ids=str)
@pytest.mark.parametrize("add", [False, True], ids=["overwrite", "add"])
def test_an_intervention_at_any_site_changes_its_target_alone(model, tokens, positions, add):
    """The captured activation is the clean one, with the named part changed by hand."""
    names = site_names(model.spec)
    _, clean = model(tokens, names=names)
    _, other = model(tokens.flip(0), names=names)
    for name in names:
        headed = name.rsplit(".", 1)[-1] in ("q", "k", "v", "z", "head_out", "scores", "pattern")
        for head in (None, 2) if headed else (None,):
            rows, axis = slice(1, 4), 2 if name.endswith(("scores", "pattern")) else 1
            index = [rows] + [slice(None)] * (clean[name].ndim - 1)
            index[axis] = positions
            part = other[name][rows]
            part = part[(slice(None),) * axis + (positions,)]
            expected = clean[name].clone()
            if head is None:
                value = part
            else:
                at = 1 if axis == 2 else 2
                value = part.select(at, head)
                index[at] = slice(head, head + 1)
                part = part.narrow(at, head, 1)
            expected[tuple(index)] = expected[tuple(index)] + part if add else part
            intervention = Intervention(name, value, head, rows, positions, add)
            _, cache = model(tokens, [intervention], names=[name])
            torch.testing.assert_close(cache[name], expected, atol=1e-5, rtol=1e-5, msg=f"{name} {head}")


def test_an_added_direction_equals_a_hook_that_adds_it(model, tokens):
    direction = torch.randn(32, generator=torch.Generator().manual_seed(5))
    edited, _ = model(tokens, [Intervention("blocks.0.mlp_out", direction, add=True, positions=slice(4, 7))])

    def hook(module, args, output):
        output = output.clone()
        output[:, 4:7] += direction
        return output

    handle = model.blocks[0].mlp.register_forward_hook(hook)
    hooked, _ = model(tokens)
    handle.remove()
    assert (token_losses(edited, tokens) - token_losses(hooked, tokens)).abs().max() < 1e-5


def test_a_value_of_fewer_rows_serves_a_batch_of_their_multiple(model, tokens):
    _, cache = model(tokens[:3], names=["blocks.1.attn.z", "blocks.1.attn.pattern"])
    for name, value in cache.items():
        whole, _ = model(tokens, [Intervention(name, value.repeat(2, 1, 1, 1))])
        torch.testing.assert_close(model(tokens, [Intervention(name, value)])[0], whole, atol=1e-5, rtol=1e-5)
        one_head = value.select(2 if name.endswith("z") else 1, 1)
        whole, _ = model(tokens, [Intervention(name, one_head.repeat(2, 1, 1), 1)])
        torch.testing.assert_close(model(tokens, [Intervention(name, one_head, 1)])[0], whole, atol=1e-5, rtol=1e-5)


def test_overwriting_queries_keys_and_values_patches_another_inputs_attention(model, tokens):
    names = [f"blocks.1.attn.{kind}" for kind in "qkv"]
    _, other = model(tokens.flip(0), names=[*names, "blocks.1.attn.z"])
    _, cache = model(tokens, [Intervention(name, other[name]) for name in names], names=["blocks.1.attn.z"])
    torch.testing.assert_close(cache["blocks.1.attn.z"], other["blocks.1.attn.z"], atol=1e-5, rtol=1e-5)


def test_a_score_of_minus_infinity_is_never_attended_to(model, tokens):
    forbidden = torch.diag(torch.full((T - 1,), -math.inf), -1)
    interventions = [Intervention("blocks.0.attn.scores", forbidden, head=1, add=True)]
    _, cache = model(tokens, interventions, names=["blocks.0.attn.pattern"])
    pattern = cache["blocks.0.attn.pattern"]
    assert pattern[:, 1].diagonal(-1, 1, 2).abs().max() == 0
    assert pattern[:, 0].diagonal(-1, 1, 2).min() > 0
    torch.testing.assert_close(pattern.sum(dim=-1), torch.ones(pattern.shape[:3]))


@pytest.mark.parametrize(
    "interventions",
    [
        [Intervention("blocks.0.attn.pattern", torch.full((T, T), 0.1).tril(), 1)],
        [
            Intervention("blocks.0.attn.pattern", torch.rand(3, T, T), 1),
            Intervention("blocks.0.attn.pattern", torch.eye(T), 3),
        ],
        [
            Intervention("blocks.1.attn.scores", torch.randn(T, T), add=True),
            Intervention("blocks.1.attn.scores", 2.0, 1, add=True),
        ],
        [
            Intervention("blocks.1.attn.scores", 1.5, positions=[4, 9], add=True),
            Intervention("blocks.1.attn.pattern", torch.eye(T), 0),
        ],
        [Intervention("blocks.1.attn.scores", torch.randn(T), 2, positions=slice(3, 8), add=True)],
    ],
    ids=["one head", "two heads", "all scores", "scores and a head", "some scores"],
)
def test_attention_without_a_pattern_equals_attention_with_one(model, tokens, interventions):
    """Capturing a pattern makes the model form it."""
    formed, _ = model(tokens, interventions, names=["blocks.0.attn.pattern", "blocks.1.attn.pattern"])
    fused, _ = model(tokens, interventions)
    torch.testing.assert_close(fused, formed, atol=1e-5, rtol=1e-5)
    assert (fused - model(tokens)[0]).abs().max() > 1e-3


def test_gradients_reach_values_through_every_site(make_model, tokens):
    model = make_model(mlp_ratio=2.0)
    for name in site_names(model.spec):
        value = torch.zeros(site_shape(model.spec, name, *tokens.shape))
        value = (value + 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
        token_losses(model(tokens, [Intervention(name, value)])[0], tokens).mean().backward()
        assert value.grad.abs().sum() > 0, name


REFUSED = {
    "site": (Intervention("blocks.2.attn.z", 0.0), r"no site 'blocks.2.attn.z'.*blocks.1.attn.z.*resid_post"),
    "kind": (Intervention("blocks.0.attn.w", 0.0), r"no site 'blocks.0.attn.w'.*blocks.0.attn.q"),
    "head": (Intervention("blocks.0.attn.z", 0.0, head=4), "no head 4 at 'blocks.0.attn.z'; heads are 0 to 3"),
    "negative head": (Intervention("blocks.0.attn.z", 0.0, head=-1), "no head -1"),
    "no heads": (Intervention("resid_post", 0.0, head=0), "has no heads; sites with heads end in q, k"),
    "position": (Intervention("embed", 0.0, positions=[3, 24]), "no position 24 at 'embed'; positions are 0 to 23"),
    "range": (Intervention("embed", 0.0, positions=slice(20, 30)), "no position 30 at 'embed'; positions are 0 to 23"),
    "empty range": (
        Intervention("embed", 0.0, positions=slice(9, 9)),
        "positions 9:9 select nothing; positions are 0 to 23",
    ),
    "shape": (
        Intervention("blocks.0.attn.z", torch.zeros(6, T, 9), head=1),
        r"shape \(6, 24, 9\) does not fit blocks.0.attn.z, head 1, which is \(6, 24, 8\)",
    ),
    "no positions": (
        Intervention("embed", 0.0, positions=[]),
        "'embed': the list of positions is empty; positions are 0 to 23",
    ),
    "no rows": (Intervention("embed", 0.0, rows=slice(6, 9)), "'embed': rows 6:9 select nothing; rows are 0 to 5"),
    "list": (
        Intervention("blocks.0.attn.z", [1.0, 2.0, 3.0], head=1),
        r"a value of shape \(3,\) does not fit blocks.0.attn.z",
    ),
    "more than is chosen": (
        Intervention("embed", torch.zeros(6, 2, 32), positions=[4]),
        r"shape \(6, 2, 32\) does not fit embed, positions 4, which is \(6, 1, 32\)",
    ),
    "batch_size": (
        Intervention("embed", torch.zeros(4, T, 32)),
        r"shape \(4, 24, 32\) does not fit embed, which is \(6, 24, 32\)",
    ),
}


@pytest.mark.parametrize(("intervention", "message"), REFUSED.values(), ids=REFUSED)
def test_an_impossible_intervention_is_refused_with_what_exists(model, tokens, intervention, message, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match=message):
        model(tokens, [intervention])


CONTRADICTIONS = {
    "same head": [Intervention("blocks.0.attn.z", 0.0, head=1), Intervention("blocks.0.attn.z", 1.0, head=1)],
    "all and one": [Intervention("blocks.0.attn.z", 0.0), Intervention("blocks.0.attn.z", 1.0, head=1)],
    "overlapping positions": [
        Intervention("embed", 0.0, positions=slice(2, 8)),
        Intervention("embed", 1.0, positions=[5]),
    ],
    "overlapping rows": [Intervention("embed", 0.0, rows=slice(0, 3)), Intervention("embed", 1.0, rows=slice(2, 5))],
    "added, then overwritten": [Intervention("resid_post", 1.0, add=True), Intervention("resid_post", 0.0)],
}


@pytest.mark.parametrize("interventions", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradicting_interventions_are_refused_before_anything_is_computed(model, tokens, interventions, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match="two interventions contradict each other: .*; then overwrite"):
        model(tokens, interventions)


SHADOWED = {
    "queries under a pattern": [
        Intervention("blocks.0.attn.q", 0.0, head=1),
        Intervention("blocks.0.attn.pattern", 0.1),
    ],
    "scores under a pattern": [
        Intervention("blocks.0.attn.pattern", 0.1, 2),
        Intervention("blocks.0.attn.scores", 1.0, 2, add=True),
    ],
    "a head under their sum": [Intervention("blocks.1.attn.z", 0.0, head=3), Intervention("blocks.1.attn_out", 0.0)],
    "some rows": [
        Intervention("blocks.1.attn.head_out", 0.0, head=3, rows=slice(1, 3)),
        Intervention("blocks.1.attn_out", 0.0, rows=slice(0, 4)),
    ],
}


@pytest.mark.parametrize("interventions", SHADOWED.values(), ids=SHADOWED)
def test_interventions_without_an_effect_are_refused(model, tokens, interventions, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match="two interventions contradict each other: overwriting .* undoes the one on"):
        model(tokens, interventions)


COMPATIBLE = {
    "queries of another head": [
        Intervention("blocks.0.attn.q", 0.0, head=1),
        Intervention("blocks.0.attn.pattern", 0.1, head=2),
    ],
    "queries of another layer": [Intervention("blocks.0.attn.q", 0.0), Intervention("blocks.1.attn.pattern", 0.1)],
    "queries that other positions use": [
        Intervention("blocks.0.attn.q", 0.0),
        Intervention("blocks.0.attn.pattern", 0.1, positions=slice(0, 4)),
    ],
    "a head under an addition": [
        Intervention("blocks.1.attn.z", 0.0, head=3),
        Intervention("blocks.1.attn_out", 1.0, add=True),
    ],
    "other heads": [Intervention("blocks.0.attn.z", 0.0, head=1), Intervention("blocks.0.attn.z", 1.0, head=2)],
    "other layers": [Intervention("blocks.0.attn.z", 0.0), Intervention("blocks.1.attn.z", 1.0)],
    "other positions": [Intervention("embed", 0.0, positions=slice(2, 8)), Intervention("embed", 1.0, positions=[8])],
    "other rows": [Intervention("embed", 0.0, rows=slice(0, 3)), Intervention("embed", 1.0, rows=slice(3, 6))],
    "overwritten, then scaled": [
        Intervention("blocks.1.attn.z", 1.0, 2),
        Intervention("blocks.1.attn.z", 0.5, scale=True),
    ],
    "overwritten, then added to": [Intervention("resid_post", 0.0), Intervention("resid_post", 1.0, add=True)],
}


@pytest.mark.parametrize("interventions", COMPATIBLE.values(), ids=COMPATIBLE)
def test_interventions_on_different_targets_are_applied(model, tokens, interventions):
    assert not torch.equal(model(tokens, interventions)[0], model(tokens)[0])


class TestClamps:
    def test_keys_that_read_the_embedding_ignore_the_first_layer(self, make_model, tokens):
        model = make_model(clamps=[{"type": "block_k_composition", "layer": 1}])
        name = "blocks.1.attn.k"
        _, clean = model(tokens, names=[name, "blocks.1.attn.q"])
        _, ablated = model(tokens, [Intervention("blocks.0.attn_out", 0.0)], names=[name, "blocks.1.attn.q"])
        assert torch.equal(clean[name], ablated[name])
        assert not torch.allclose(clean["blocks.1.attn.q"], ablated["blocks.1.attn.q"])

    def test_gradients_reach_the_embedding_through_clamped_keys(self, make_model, tokens):
        model = make_model(clamps=[{"type": "block_k_composition", "layer": 1}]).requires_grad_(True)
        _, cache = model(tokens, names=["blocks.1.attn.k"])
        cache["blocks.1.attn.k"].square().sum().backward()
        assert model.W_E.grad.abs().sum() > 0 and model.blocks[1].attn.W_QKV.grad.abs().sum() > 0
        assert model.blocks[0].attn.W_QKV.grad is None

    @pytest.mark.parametrize("head", [None, 3])
    def test_a_clamped_head_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"type": "force_previous_token", "layer": 0, "head": head}])
        _, cache = model(tokens, names=["blocks.0.attn.pattern"])
        previous = cache["blocks.0.attn.pattern"].diagonal(-1, 2, 3)
        assert previous.shape == (6, 4, T - 1)
        assert (previous == 1).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    @pytest.mark.parametrize("head", [None, 0])
    def test_a_forbidden_head_never_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"type": "block_previous_token", "layer": 1, "head": head}])
        _, cache = model(tokens, names=["blocks.1.attn.pattern"])
        previous = cache["blocks.1.attn.pattern"].diagonal(-1, 2, 3)
        assert (previous == 0).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    def test_interventions_are_applied_after_clamps(self, make_model, tokens):
        model = make_model(clamps=[{"type": "force_previous_token", "layer": 0, "head": 1}])
        free = make_model()
        even = torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]
        intervention = Intervention("blocks.0.attn.pattern", even, 1)
        torch.testing.assert_close(
            model(tokens, [intervention])[0], free(tokens, [intervention])[0], atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize(
        ("clamp", "message"),
        [
            (
                {"type": "keys_read_nothing", "layer": 0},
                "no intervention 'keys_read_nothing'; there are: block_k_composition, block_previous_token, force",
            ),
            ({"type": "force_previous_token", "layer": 2}, "no layer 2; layers are 0 to 1"),
            ({"type": "force_previous_token", "layer": 0, "head": 4}, "no head 4; heads are 0 to 3"),
        ],
    )
    def test_a_clamp_that_does_not_fit_the_model_is_refused(self, make_model, clamp, message):
        with pytest.raises(ValueError, match=message):
            make_model(clamps=[clamp])
