"""Clamps of Singh et al. (2024): what they give a model, and where gradients still go."""

import pytest
import torch
from reinduce.task import exemplars

from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ClampSpec, ModelSpec, TrainSpec, from_dict
from reinduce.model.transformer import Transformer, training_losses
from reinduce.train.loop import train

SPEC = exemplars.Spec(classes=12, new_classes=7, exemplars=2, features=16)
TOKENS = exemplars.sequences(SPEC, "trained", 60, 3)
FEATURES = torch.rand(38, 16, generator=torch.Generator().manual_seed(1))
RIGHT = exemplars.right_label(TOKENS[:, :5], 5, 2)


def clamped(*clamps, seed=0):
    values = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 5, "n_ctx": 5, "features": 16, "exemplars": 2}
    spec = from_dict(ModelSpec, values | {"positions": "rotary", "clamps": list(clamps)})
    return Transformer(spec).init_weights(seed).set_features(FEATURES)


def query_rows(model, layer=1):
    name = f"blocks.{layer}.attn.pattern"
    return model(TOKENS[:, :5], names=[name])[1][name][:, :, 4]


@pytest.mark.parametrize("strength", [1.0, 0.7, 0.0])
def test_a_match_gives_the_querys_attention_and_nothing_else(strength):
    free, model = clamped(), clamped({"what": "match", "layer": 1, "head": 2, "strength": strength})
    row = query_rows(model)[:, 2]
    assert torch.allclose(row.gather(1, RIGHT[:, None])[:, 0], torch.tensor(strength))
    assert torch.allclose(row.gather(1, 4 - RIGHT[:, None])[:, 0], torch.tensor(1 - strength))
    assert torch.equal(query_rows(model)[:, [0, 1, 3]], query_rows(free)[:, [0, 1, 3]])
    name = "blocks.1.attn.pattern"
    mine, theirs = (m(TOKENS[:, :5], names=[name])[1][name][:, :, :4] for m in (model, free))
    assert torch.equal(mine, theirs), "other tokens attend as they did"


def test_a_silent_head_says_nothing():
    model = clamped({"what": "silence", "layer": 1, "head": 0}, {"what": "silence", "layer": 1, "head": 3})
    _, cache = model(TOKENS[:, :5], names=["blocks.1.attn.z"])
    z = cache["blocks.1.attn.z"]
    assert not z[:, :, [0, 3]].any() and z[:, :, [1, 2]].abs().min(dim=-1).values.max() > 0


def test_layer_one_matches_by_what_stands_before_labels_and_reads_the_embedding():
    """By hand: scores of a pass over the shifted embedding, values of the embedding itself."""
    free, model = clamped(), clamped({"what": "layer_one", "layer": 1})
    x = free.embed(TOKENS[:, :5])
    shifted = x.clone()
    for position in (1, 2, 3):
        shifted[:, position] = x[:, position - 1]
    block = free.blocks[1]
    q, k, _ = block.attn.qkv(block.ln1(shifted))
    scores = block.attn.scores(q, k).masked_fill(torch.ones(5, 5).triu(1).bool(), float("-inf"))
    _, _, v = block.attn.qkv(block.ln1(x))
    z = torch.einsum("bhqk,bkhe->bqhe", scores.softmax(dim=-1), v)
    expected = free.unembed(x + torch.nn.functional.linear(z.flatten(2), block.attn.W_O))
    torch.testing.assert_close(model(TOKENS[:, :5])[0], expected, atol=1e-5, rtol=1e-5)


def test_a_copy_makes_scores_the_logits_of_the_two_labels():
    free, model = clamped(), clamped({"what": "copy", "layer": 1, "head": 1})
    name = "blocks.1.attn.scores"
    scores = free(TOKENS[:, :5], names=[name])[1][name][:, 1, 4]
    logits = model(TOKENS[:, :5])[0][:, -1]
    for b in range(len(TOKENS)):
        labels = TOKENS[b, [1, 3]]
        torch.testing.assert_close(logits[b, labels], scores[b, [1, 3]], atol=1e-5, rtol=1e-5)
        others = [v for v in range(5) if v not in labels.tolist()]
        assert (logits[b, others] == -1e9).all()


def test_a_copy_of_a_clamped_layer_takes_its_clamped_scores():
    layer_one = {"what": "layer_one", "layer": 1}
    name = "blocks.1.attn.scores"
    scores = clamped(layer_one)(TOKENS[:, :5], names=[name])[1][name][:, 1, 4]
    logits = clamped(layer_one, {"what": "copy", "layer": 1, "head": 1})(TOKENS[:, :5])[0][:, -1]
    torch.testing.assert_close(logits.gather(1, TOKENS[:, [1, 3]]), scores[:, [1, 3]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", [None, 2])
@pytest.mark.parametrize("site", ["q", "k", "v", "pattern"])
def test_what_is_preserved_is_that_of_a_pass_without_clamps(site, head):
    """Layer 1's heads are silent; layer 2 goes on as if they were not, at this site and no other."""
    silent = [{"what": "silence", "layer": 0, "head": h} for h in range(4)]
    names = [f"blocks.1.attn.{kind}" for kind in ("q", "k", "v", "pattern")]
    own = {"site": site} | ({} if head is None else {"head": head})
    free, unkept, kept = (
        model(TOKENS[:, :5], names=names)[1]
        for model in (clamped(), clamped(*silent), clamped(*silent, {"what": "preserve", "layer": 1, **own}))
    )
    name = f"blocks.1.attn.{site}"
    axis = 1 if site == "pattern" else 2
    chosen, others = ([head], [0, 1, 3]) if head is not None else (list(range(4)), [])
    torch.testing.assert_close(
        kept[name].index_select(axis, torch.tensor(chosen)), free[name].index_select(axis, torch.tensor(chosen))
    )
    for i in others:
        torch.testing.assert_close(kept[name].select(axis, i), unkept[name].select(axis, i))
    assert not torch.allclose(free[name], unkept[name], atol=1e-4)
    for other in set(names) - {name, "blocks.1.attn.pattern"}:
        assert torch.equal(kept[other], unkept[other])


def test_gradients_flow_through_both_passes_of_what_is_preserved():
    silent = [{"what": "silence", "layer": 0, "head": h} for h in range(4)]
    for clamps, reached in ((silent, False), ([*silent, {"what": "preserve", "layer": 1, "site": "k"}], True)):
        model = clamped(*clamps)
        training_losses(model, TOKENS).mean().backward()
        gradient = model.blocks[0].attn.W_O.grad
        assert (gradient is not None and bool(gradient.any())) == reached


def test_clamps_that_contradict_each_other_stop_a_training_before_it_begins(tmp_path):
    clamps = [
        {"what": "attend_previous", "layer": 0, "head": 1},
        {"what": "preserve", "layer": 0, "site": "pattern", "head": 1},
    ]
    spec = TrainSpec(steps=5, batch_size=4, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 5}))
    arm = ArmSpec(study="s", arm="a", task="t", model=clamped(*clamps).spec, train=spec)
    with pytest.raises(
        ValueError, match="two interventions contradict each other: overwrite blocks.0.attn.pattern, head 1"
    ):
        train(arm, 0, lambda step, n: TOKENS[:n], tmp_path, features=FEATURES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("clamps", "reached", "spared"),
    [
        ([{"what": "match", "layer": 1, "head": 2}], ["W_F", "blocks.1.attn.W_O", "W_U"], []),
        ([{"what": "layer_one", "layer": 1}], ["W_F", "blocks.1.attn.W_QKV", "W_U"], ["blocks.0.attn.W_QKV"]),
        ([{"what": "copy", "layer": 1, "head": 2}], ["W_F", "blocks.0.attn.W_QKV"], ["W_U", "blocks.1.attn.W_O"]),
    ],
    ids=["match", "layer one", "copy"],
)
def test_gradients_reach_what_is_not_clamped(clamps, reached, spared):
    model = clamped(*clamps)
    training_losses(model, TOKENS).mean().backward()
    parameters = dict(model.named_parameters())
    assert all(parameters[name].grad.abs().sum() > 0 for name in reached)
    assert all(parameters[name].grad is None or not parameters[name].grad.any() for name in spared)


@pytest.mark.parametrize(
    ("clamp", "message"),
    [
        ({"what": "match", "layer": 2, "head": 0}, "clamps: no layer 2; layers are 0 to 1"),
        ({"what": "match", "layer": 1, "head": 4}, "clamps: no head 4; heads are 0 to 3"),
        ({"what": "copy", "layer": 1}, "copy needs a head"),
        ({"what": "layer_one", "layer": 1, "head": 0}, "layer_one is of all heads of the layer; leave out head"),
        ({"what": "match", "layer": 1, "strength": 1.5}, "strength must lie between 0 and 1, not 1.5"),
        ({"what": "silence", "layer": 1, "strength": 0.5}, "strength belongs to match, not to silence"),
        ({"what": "preserve", "layer": 1}, "site must be one of q, k, v, pattern for preserve"),
        ({"what": "preserve", "layer": 1, "site": "z"}, "site must be one of q, k, v, pattern .* not 'z' for preserve"),
        ({"what": "silence", "layer": 1, "site": "q"}, "belongs to no other clamp; not 'q' for silence"),
        ({"what": "mach", "layer": 1}, "what must be one of keys_read_embedding, .*match.*, not 'mach'"),
    ],
)
def test_a_clamp_that_does_not_fit_is_refused(clamp, message):
    with pytest.raises(ValueError, match=message):
        clamped(clamp)


def test_clamps_of_exemplars_are_not_for_language():
    with pytest.raises(ValueError, match="match is for models that read five tokens, exemplars and labels in turn"):
        ModelSpec(
            n_layers=2, d_model=8, n_heads=2, vocab_size=9, n_ctx=5, clamps=[ClampSpec(what="match", layer=1, head=0)]
        )
