"""Clamps of the library: what they give a model, and where gradients still go."""

import math

import pytest
import torch

from reinduce.config.find import find_all
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, TrainSpec
from reinduce.model.clamps import Clamp, build_clamp
from reinduce.model.interventions import Intervention
from reinduce.model.transformer import training_losses
from reinduce.train.loop import train

T = 24
# Few tokens take another way through attention than many.
few_or_many = pytest.mark.parametrize(("length", "positions"), [(5, "rotary"), (T, "shortformer")], ids=["few", "many"])
LIBRARY = ("block_k_composition", "force_previous_token", "block_previous_token", "zero_head", "freeze_activation")


def test_the_library_has_these_and_all_are_clamps():
    found = find_all("intervention")
    assert tuple(found) == LIBRARY
    assert all(issubclass(kind, Clamp) and kind.type == name and kind.owner == "" for name, kind in found.items())
    assert not any(kind.overwrites_logits for kind in found.values())


class TestBlockedKComposition:
    def test_keys_that_read_the_embedding_ignore_the_first_layer(self, make_model, tokens):
        model = make_model(clamps=[{"type": "block_k_composition", "layer": 1}])
        name = "blocks.1.attn.k"
        _, intact = model(tokens, names=[name, "blocks.1.attn.q"])
        _, ablated = model(tokens, [Intervention("blocks.0.attn_out", 0.0)], names=[name, "blocks.1.attn.q"])
        assert torch.equal(intact[name], ablated[name])
        assert not torch.allclose(intact["blocks.1.attn.q"], ablated["blocks.1.attn.q"])

    def test_of_one_head_others_still_read_the_stream(self, make_model, tokens):
        name = "blocks.1.attn.k"
        free, all_heads, one = (
            make_model(clamps=clamps)(tokens, names=[name])[1][name]
            for clamps in (
                [],
                [{"type": "block_k_composition", "layer": 1}],
                [{"type": "block_k_composition", "layer": 1, "head": 2}],
            )
        )
        assert torch.equal(one[:, :, 2], all_heads[:, :, 2])
        assert torch.equal(one[:, :, [0, 1, 3]], free[:, :, [0, 1, 3]])
        assert not torch.allclose(all_heads, free)

    def test_gradients_reach_the_embedding_through_clamped_keys(self, make_model, tokens):
        model = make_model(clamps=[{"type": "block_k_composition", "layer": 1}]).requires_grad_(True)
        _, captured = model(tokens, names=["blocks.1.attn.k"])
        captured["blocks.1.attn.k"].square().sum().backward()
        assert model.W_E.grad.abs().sum() > 0 and model.blocks[1].attn.W_QKV.grad.abs().sum() > 0
        assert model.blocks[0].attn.W_QKV.grad is None


class TestPreviousToken:
    @pytest.mark.parametrize("head", [None, 3])
    def test_a_clamped_head_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"type": "force_previous_token", "layer": 0, "head": head}])
        _, captured = model(tokens, names=["blocks.0.attn.pattern"])
        previous = captured["blocks.0.attn.pattern"].diagonal(-1, 2, 3)
        assert previous.shape == (6, 4, T - 1)
        assert (previous == 1).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    @pytest.mark.parametrize("head", [None, 0])
    def test_a_forbidden_head_never_attends_to_the_previous_token(self, make_model, tokens, head):
        model = make_model(clamps=[{"type": "block_previous_token", "layer": 1, "head": head}])
        _, captured = model(tokens, names=["blocks.1.attn.pattern"])
        previous = captured["blocks.1.attn.pattern"].diagonal(-1, 2, 3)
        assert (previous == 0).all(dim=2).all(dim=0).tolist() == [head in (None, h) for h in range(4)]

    def test_an_edit_comes_after_the_clamp(self, make_model, tokens):
        model = make_model(clamps=[{"type": "force_previous_token", "layer": 0, "head": 1}])
        free = make_model()
        even = torch.ones(T, T).tril() / torch.arange(1, T + 1)[:, None]
        even_attention = Intervention("blocks.0.attn.pattern", even, 1)
        torch.testing.assert_close(
            model(tokens, [even_attention])[0], free(tokens, [even_attention])[0], atol=1e-5, rtol=1e-5
        )


class TestZeroedHeads:
    @few_or_many
    def test_a_zeroed_head_writes_nothing(self, make_model, tokens, length, positions):
        clamps = [{"type": "zero_head", "layer": 1, "head": head} for head in (0, 3)]
        model = make_model(clamps=clamps, positions=positions)
        _, captured = model(tokens[:, :length], names=["blocks.1.attn.z"])
        z = captured["blocks.1.attn.z"]
        assert not z[:, :, [0, 3]].any() and z[:, :, [1, 2]].abs().min(dim=-1).values.max() > 0

    def test_all_heads_but_one_are_those_others_one_by_one(self, make_model, tokens):
        but = make_model(clamps=[{"type": "zero_head", "layer": 1, "except_head": 2}])
        others = make_model(clamps=[{"type": "zero_head", "layer": 1, "head": head} for head in (0, 1, 3)])
        assert torch.equal(but(tokens)[0], others(tokens)[0])
        assert not torch.allclose(but(tokens)[0], make_model()(tokens)[0])

    def test_a_layer_without_heads_is_one_that_adds_nothing(self, make_model, tokens):
        model = make_model(clamps=[{"type": "zero_head", "layer": 0}])
        edited = make_model()(tokens, [Intervention("blocks.0.attn_out", 0.0)])[0]
        torch.testing.assert_close(model(tokens)[0], edited, atol=1e-6, rtol=1e-5)

    def test_its_mask_is_no_part_of_a_checkpoint(self, make_model):
        model = make_model(clamps=[{"type": "zero_head", "layer": 1, "head": 1}])
        assert set(model.state_dict()) == set(make_model().state_dict())
        assert model.clamp_state0.tolist() == [[1.0], [0.0], [1.0], [1.0]]


class TestFrozenActivations:
    @few_or_many
    @pytest.mark.parametrize("head", [None, 2])
    @pytest.mark.parametrize("site", ["q", "k", "v", "pattern"])
    def test_what_is_frozen_is_that_of_a_pass_without_clamps(self, make_model, tokens, site, head, length, positions):
        """The first layer's heads are zero; the second goes on as if they were not, at this site and no other."""
        zero = [{"type": "zero_head", "layer": 0, "head": h} for h in range(4)]
        names = [f"blocks.1.attn.{kind}" for kind in ("q", "k", "v", "pattern")]
        own = {"site": site} | ({} if head is None else {"head": head})
        free, unfrozen, frozen = (
            make_model(clamps=clamps, positions=positions)(tokens[:, :length], names=names)[1]
            for clamps in ([], zero, [*zero, {"type": "freeze_activation", "layer": 1, **own}])
        )
        name = f"blocks.1.attn.{site}"
        axis = 1 if site == "pattern" else 2
        chosen, others = ([head], [0, 1, 3]) if head is not None else (list(range(4)), [])
        torch.testing.assert_close(
            frozen[name].index_select(axis, torch.tensor(chosen)), free[name].index_select(axis, torch.tensor(chosen))
        )
        for i in others:
            torch.testing.assert_close(frozen[name].select(axis, i), unfrozen[name].select(axis, i))
        assert not torch.allclose(free[name], unfrozen[name], atol=1e-4)
        for other in set(names) - {name, "blocks.1.attn.pattern"}:
            assert torch.equal(frozen[other], unfrozen[other])

    @few_or_many
    def test_gradients_flow_through_both_passes(self, make_model, tokens, length, positions):
        zero = [{"type": "zero_head", "layer": 0, "head": h} for h in range(4)]
        for clamps, reached in (
            (zero, False),
            ([*zero, {"type": "freeze_activation", "layer": 1, "site": "k"}], True),
        ):
            model = make_model(clamps=clamps, positions=positions).requires_grad_(True)
            training_losses(model, tokens[:, :length]).mean().backward()
            gradient = model.blocks[0].attn.W_O.grad
            assert (gradient is not None and bool(gradient.any())) == reached


def test_clamps_that_contradict_each_other_stop_a_training_before_it_begins(make_model, tokens, tmp_path):
    clamps = [
        {"type": "force_previous_token", "layer": 0, "head": 1},
        {"type": "freeze_activation", "layer": 0, "site": "pattern", "head": 1},
    ]
    spec = TrainSpec(steps=5, batch_size=4, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 5}))
    arm = ArmSpec(study="s", arm="a", task="t", model=make_model(clamps=clamps).spec, train=spec)
    with pytest.raises(
        ValueError, match="two interventions contradict each other: overwrite blocks.0.attn.pattern, head 1"
    ):
        train(arm, 0, lambda step, n: tokens[:n], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        (
            {"type": "block_nothing", "layer": 0},
            "no intervention 'block_nothing'; there are: block_k_composition, block_previous_token, force",
        ),
        ({"layer": 0}, "clamps: each needs a `type`"),
        ({"type": "force_previous_token", "layer": 2}, "clamps: no layer 2; layers are 0 to 1"),
        ({"type": "force_previous_token", "layer": 0, "head": 4}, "clamps: no head 4; heads are 0 to 3"),
        ({"type": "force_previous_token"}, "ForcePreviousToken: .*missing.*'layer'"),
        (
            {"type": "zero_head", "layer": 1, "strength": 0.5},
            "ZeroHead: unknown strength; expected layer, head, except",
        ),
        (
            {"type": "zero_head", "layer": 1, "head": 0, "except_head": 1},
            "zero_head takes head or except_head, not both",
        ),
        ({"type": "zero_head", "layer": 1, "except_head": 4}, "clamps: no head 4; heads are 0 to 3"),
        ({"type": "zero_head", "layer": 1, "site": "q"}, "ZeroHead: unknown site; expected layer, head, except_head"),
        ({"type": "freeze_activation", "layer": 1}, "FreezeActivation: .*missing.*'site'"),
        (
            {"type": "freeze_activation", "layer": 1, "site": "z"},
            "clamps: site must be one of q, k, v, pattern, not 'z'",
        ),
    ],
)
def test_a_clamp_that_does_not_fit_the_model_is_refused(make_model, clamp, message):
    with pytest.raises(ValueError, match=message):
        make_model(clamps=[clamp])


@pytest.mark.parametrize(
    "content",
    [
        {"type": "zero_head", "layer": 1, "head": None, "except_head": 3},
        {"type": "freeze_activation", "layer": 0, "head": 1, "site": "v"},
        {"type": "block_previous_token", "layer": 0, "head": None},
    ],
    ids=lambda content: content["type"],
)
def test_a_clamp_comes_back_from_its_content(make_model, content):
    assert build_clamp(content, make_model().spec).content() == content


def test_what_a_forbidden_head_does_not_attend_to_has_a_score_of_minus_infinity(make_model, tokens):
    model = make_model(clamps=[{"type": "block_previous_token", "layer": 0, "head": 1}])
    _, captured = model(tokens, names=["blocks.0.attn.scores"])
    previous = captured["blocks.0.attn.scores"].diagonal(-1, 2, 3)
    assert (previous[:, 1] == -math.inf).all() and previous[:, [0, 2, 3]].isfinite().all()
