"""Every kind of edit against the plain way, and every edit that makes no sense against its message."""

import math

import pytest
import torch

from reinduce.model.sites import Edit, site_names, site_shape
from reinduce.model.transformer import Transformer, token_losses

T = 24


@pytest.fixture
def model(make_model):
    return make_model(mlp_ratio=2.0)


def test_every_site_has_the_shape_that_is_declared(model, tokens):
    _, captured = model(tokens, capture=site_names(model.spec))
    for name, value in captured.items():
        assert tuple(value.shape) == site_shape(model.spec, name, *tokens.shape), name


@pytest.mark.parametrize("positions", [slice(None), slice(5, 9), [3, 17], [20]], ids=str)
@pytest.mark.parametrize("add", [False, True], ids=["put", "add"])
def test_an_edit_at_any_site_changes_just_what_it_names(model, tokens, positions, add):
    """What is captured after the edit is the intact activation, with the named part changed by hand."""
    names = site_names(model.spec)
    _, intact = model(tokens, capture=names)
    _, other = model(tokens.flip(0), capture=names)
    for name in names:
        headed = name.rsplit(".", 1)[-1] in ("q", "k", "v", "z", "head_out", "scores", "pattern")
        for head in (None, 2) if headed else (None,):
            rows, axis = slice(1, 4), 2 if name.endswith(("scores", "pattern")) else 1
            index = [rows] + [slice(None)] * (intact[name].ndim - 1)
            index[axis] = positions
            part = other[name][rows]
            part = part[(slice(None),) * axis + (positions,)]
            expected = intact[name].clone()
            if head is None:
                value = part
            else:
                at = 1 if axis == 2 else 2
                value = part.select(at, head)
                index[at] = slice(head, head + 1)
                part = part.narrow(at, head, 1)
            expected[tuple(index)] = expected[tuple(index)] + part if add else part
            edit = Edit(name, value, head, rows, positions, add)
            _, captured = model(tokens, [edit], capture=[name])
            torch.testing.assert_close(captured[name], expected, atol=1e-5, rtol=1e-5, msg=f"{name} {head}")


def test_an_added_direction_equals_a_hook_that_adds_it(model, tokens):
    direction = torch.randn(32, generator=torch.Generator().manual_seed(5))
    edited, _ = model(tokens, [Edit("blocks.0.mlp_out", direction, add=True, positions=slice(4, 7))])

    def hook(module, args, output):
        output = output.clone()
        output[:, 4:7] += direction
        return output

    handle = model.blocks[0].mlp.register_forward_hook(hook)
    hooked, _ = model(tokens)
    handle.remove()
    assert (token_losses(edited, tokens) - token_losses(hooked, tokens)).abs().max() < 1e-5


def test_a_value_of_fewer_rows_serves_a_batch_of_their_multiple(model, tokens):
    _, captured = model(tokens[:3], capture=["blocks.1.attn.z", "blocks.1.attn.pattern"])
    for name, value in captured.items():
        whole, _ = model(tokens, [Edit(name, value.repeat(2, 1, 1, 1))])
        torch.testing.assert_close(model(tokens, [Edit(name, value)])[0], whole, atol=1e-5, rtol=1e-5)
        one_head = value.select(2 if name.endswith("z") else 1, 1)
        whole, _ = model(tokens, [Edit(name, one_head.repeat(2, 1, 1), 1)])
        torch.testing.assert_close(model(tokens, [Edit(name, one_head, 1)])[0], whole, atol=1e-5, rtol=1e-5)


def test_edits_of_queries_keys_and_values_together_are_those_of_another_input(model, tokens):
    names = [f"blocks.1.attn.{kind}" for kind in "qkv"]
    _, other = model(tokens.flip(0), capture=[*names, "blocks.1.attn.z"])
    _, captured = model(tokens, [Edit(name, other[name]) for name in names], capture=["blocks.1.attn.z"])
    torch.testing.assert_close(captured["blocks.1.attn.z"], other["blocks.1.attn.z"], atol=1e-5, rtol=1e-5)


def test_a_score_of_minus_infinity_is_never_attended_to(model, tokens):
    forbidden = torch.diag(torch.full((T - 1,), -math.inf), -1)
    edits = [Edit("blocks.0.attn.scores", forbidden, head=1, add=True)]
    _, captured = model(tokens, edits, capture=["blocks.0.attn.pattern"])
    pattern = captured["blocks.0.attn.pattern"]
    assert pattern[:, 1].diagonal(-1, 1, 2).abs().max() == 0
    assert pattern[:, 0].diagonal(-1, 1, 2).min() > 0
    torch.testing.assert_close(pattern.sum(dim=-1), torch.ones(pattern.shape[:3]))


@pytest.mark.parametrize(
    "edits",
    [
        [Edit("blocks.0.attn.pattern", torch.full((T, T), 0.1).tril(), 1)],
        [Edit("blocks.0.attn.pattern", torch.rand(3, T, T), 1), Edit("blocks.0.attn.pattern", torch.eye(T), 3)],
        [Edit("blocks.1.attn.scores", torch.randn(T, T), add=True), Edit("blocks.1.attn.scores", 2.0, 1, add=True)],
        [Edit("blocks.1.attn.scores", 1.5, positions=[4, 9], add=True), Edit("blocks.1.attn.pattern", torch.eye(T), 0)],
        [Edit("blocks.1.attn.scores", torch.randn(T), 2, positions=slice(3, 8), add=True)],
    ],
    ids=["one head", "two heads", "all scores", "scores and a head", "some scores"],
)
def test_what_needs_no_pattern_equals_what_forms_one(model, tokens, edits):
    """Asking for a pattern makes the model form it."""
    formed, _ = model(tokens, edits, capture=["blocks.0.attn.pattern", "blocks.1.attn.pattern"])
    spared, _ = model(tokens, edits)
    torch.testing.assert_close(spared, formed, atol=1e-5, rtol=1e-5)
    assert (spared - model(tokens)[0]).abs().max() > 1e-3


def test_gradients_reach_values_through_every_site(make_model, tokens):
    model = make_model(mlp_ratio=2.0)
    for name in site_names(model.spec):
        value = torch.zeros(site_shape(model.spec, name, *tokens.shape))
        value = (value + 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
        token_losses(model(tokens, [Edit(name, value)])[0], tokens).mean().backward()
        assert value.grad.abs().sum() > 0, name


REFUSED = {
    "site": (Edit("blocks.2.attn.z", 0.0), r"no site 'blocks.2.attn.z'.*blocks.1.attn.z.*resid_post"),
    "kind": (Edit("blocks.0.attn.w", 0.0), r"no site 'blocks.0.attn.w'.*blocks.0.attn.q"),
    "head": (Edit("blocks.0.attn.z", 0.0, head=4), "no head 4 at 'blocks.0.attn.z'; heads are 0 to 3"),
    "negative head": (Edit("blocks.0.attn.z", 0.0, head=-1), "no head -1"),
    "no heads": (Edit("resid_post", 0.0, head=0), "has no heads; sites with heads end in q, k"),
    "position": (Edit("embed", 0.0, positions=[3, 24]), "no position 24 at 'embed'; positions are 0 to 23"),
    "range": (Edit("embed", 0.0, positions=slice(20, 30)), "no position 30 at 'embed'; positions are 0 to 23"),
    "empty range": (Edit("embed", 0.0, positions=slice(9, 9)), "positions 9:9 are none of 0 to 23"),
    "shape": (
        Edit("blocks.0.attn.z", torch.zeros(6, T, 9), head=1),
        r"shape \(6, 24, 9\) does not fit blocks.0.attn.z, head 1, which is \(6, 24, 8\)",
    ),
    "no positions": (Edit("embed", 0.0, positions=[]), "'embed': no positions are chosen; there are 0 to 23"),
    "no rows": (Edit("embed", 0.0, rows=slice(6, 9)), "'embed': rows 6:9 are none of 0 to 5"),
    "list": (Edit("blocks.0.attn.z", [1.0, 2.0, 3.0], head=1), r"a value of shape \(3,\) does not fit blocks.0.attn.z"),
    "more than is chosen": (
        Edit("embed", torch.zeros(6, 2, 32), positions=[4]),
        r"shape \(6, 2, 32\) does not fit embed, positions 4, which is \(6, 1, 32\)",
    ),
    "batch": (Edit("embed", torch.zeros(4, T, 32)), r"shape \(4, 24, 32\) does not fit embed, which is \(6, 24, 32\)"),
}


@pytest.mark.parametrize(("edit", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_exist_is_refused_with_what_does(model, tokens, edit, message, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match=message):
        model(tokens, [edit])


CONTRADICTIONS = {
    "same head": [Edit("blocks.0.attn.z", 0.0, head=1), Edit("blocks.0.attn.z", 1.0, head=1)],
    "all and one": [Edit("blocks.0.attn.z", 0.0), Edit("blocks.0.attn.z", 1.0, head=1)],
    "overlapping positions": [
        Edit("embed", 0.0, positions=slice(2, 8)),
        Edit("embed", 1.0, positions=[5]),
    ],
    "overlapping rows": [Edit("embed", 0.0, rows=slice(0, 3)), Edit("embed", 1.0, rows=slice(2, 5))],
    "added, then lost": [Edit("resid_post", 1.0, add=True), Edit("resid_post", 0.0)],
}


@pytest.mark.parametrize("edits", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_edits_that_contradict_each_other_are_refused_before_anything_is_computed(model, tokens, edits, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match="two edits contradict each other: .*; then put"):
        model(tokens, edits)


LOST = {
    "queries under a pattern": [Edit("blocks.0.attn.q", 0.0, head=1), Edit("blocks.0.attn.pattern", 0.1)],
    "scores under a pattern": [Edit("blocks.0.attn.pattern", 0.1, 2), Edit("blocks.0.attn.scores", 1.0, 2, add=True)],
    "a head under their sum": [Edit("blocks.1.attn.z", 0.0, head=3), Edit("blocks.1.attn_out", 0.0)],
    "some rows": [
        Edit("blocks.1.attn.head_out", 0.0, head=3, rows=slice(1, 3)),
        Edit("blocks.1.attn_out", 0.0, rows=slice(0, 4)),
    ],
}


@pytest.mark.parametrize("edits", LOST.values(), ids=LOST)
def test_edits_of_which_nothing_would_be_left_are_refused_too(model, tokens, edits, monkeypatch):
    monkeypatch.setattr(Transformer, "embed", lambda *args: pytest.fail("something was computed"))
    with pytest.raises(ValueError, match="two edits contradict each other: put .* leaves nothing of what is done at"):
        model(tokens, edits)


AGREEING = {
    "queries of another head": [Edit("blocks.0.attn.q", 0.0, head=1), Edit("blocks.0.attn.pattern", 0.1, head=2)],
    "queries of another layer": [Edit("blocks.0.attn.q", 0.0), Edit("blocks.1.attn.pattern", 0.1)],
    "queries that other positions use": [
        Edit("blocks.0.attn.q", 0.0),
        Edit("blocks.0.attn.pattern", 0.1, positions=slice(0, 4)),
    ],
    "a head under an addition": [Edit("blocks.1.attn.z", 0.0, head=3), Edit("blocks.1.attn_out", 1.0, add=True)],
    "other heads": [Edit("blocks.0.attn.z", 0.0, head=1), Edit("blocks.0.attn.z", 1.0, head=2)],
    "other layers": [Edit("blocks.0.attn.z", 0.0), Edit("blocks.1.attn.z", 1.0)],
    "other positions": [Edit("embed", 0.0, positions=slice(2, 8)), Edit("embed", 1.0, positions=[8])],
    "other rows": [Edit("embed", 0.0, rows=slice(0, 3)), Edit("embed", 1.0, rows=slice(3, 6))],
    "put, then scaled": [Edit("blocks.1.attn.z", 1.0, 2), Edit("blocks.1.attn.z", 0.5, scale=True)],
    "put, then add": [Edit("resid_post", 0.0), Edit("resid_post", 1.0, add=True)],
}


@pytest.mark.parametrize("edits", AGREEING.values(), ids=AGREEING)
def test_edits_that_leave_each_other_alone_are_made(model, tokens, edits):
    assert not torch.equal(model(tokens, edits)[0], model(tokens)[0])


class TestClamps:
    def test_keys_that_read_the_embedding_ignore_the_first_layer(self, make_model, tokens):
        model = make_model(clamps=[{"what": "keys_read_embedding", "layer": 1}])
        name = "blocks.1.attn.k"
        _, intact = model(tokens, capture=[name, "blocks.1.attn.q"])
        _, ablated = model(tokens, [Edit("blocks.0.attn_out", 0.0)], capture=[name, "blocks.1.attn.q"])
        assert torch.equal(intact[name], ablated[name])
        assert not torch.allclose(intact["blocks.1.attn.q"], ablated["blocks.1.attn.q"])

    def test_gradients_reach_the_embedding_through_clamped_keys(self, make_model, tokens):
        model = make_model(clamps=[{"what": "keys_read_embedding", "layer": 1}]).requires_grad_(True)
        _, captured = model(tokens, capture=["blocks.1.attn.k"])
        captured["blocks.1.attn.k"].square().sum().backward()
        assert model.W_E.grad.abs().sum() > 0 and model.blocks[1].attn.W_QKV.grad.abs().sum() > 0
        assert model.blocks[0].attn.W_QKV.grad is None

    @pytest.mark.parametrize("head", [None, 3])
    def test_a_clamped_head_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"what": "attend_previous", "layer": 0, "head": head}])
        _, captured = model(tokens, capture=["blocks.0.attn.pattern"])
        previous = captured["blocks.0.attn.pattern"].diagonal(-1, 2, 3)
        assert previous.shape == (6, 4, T - 1)
        assert (previous == 1).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    @pytest.mark.parametrize("head", [None, 0])
    def test_a_forbidden_head_never_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"what": "never_attend_previous", "layer": 1, "head": head}])
        _, captured = model(tokens, capture=["blocks.1.attn.pattern"])
        previous = captured["blocks.1.attn.pattern"].diagonal(-1, 2, 3)
        assert (previous == 0).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    def test_an_edit_comes_after_the_clamp(self, make_model, tokens):
        model = make_model(clamps=[{"what": "attend_previous", "layer": 0, "head": 1}])
        free = make_model()
        even = torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]
        edit = Edit("blocks.0.attn.pattern", even, 1)
        torch.testing.assert_close(model(tokens, [edit])[0], free(tokens, [edit])[0], atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("clamp", "message"),
        [
            ({"what": "keys_read_nothing", "layer": 0}, "what must be one of keys_read_embedding, attend_previous"),
            ({"what": "attend_previous", "layer": 2}, "no layer 2; layers are 0 to 1"),
            ({"what": "attend_previous", "layer": 0, "head": 4}, "no head 4; heads are 0 to 3"),
        ],
    )
    def test_a_clamp_that_does_not_fit_the_model_is_refused(self, make_model, clamp, message):
        with pytest.raises(ValueError, match=message):
            make_model(clamps=[clamp])
