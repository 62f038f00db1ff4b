"""Clamps of Singh et al. (2024): what they give a model, and where gradients still go."""

import pytest
import torch

from reinduce.config.find import find
from reinduce.config.job_specs import ModelSpec, from_dict
from reinduce.model.transformer import Transformer, training_losses
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, right_label, sequences

SPEC = FewshotSpec(classes=12, new_classes=7, exemplars=2, features=16)
TOKENS = sequences(SPEC, "in_distribution", 60, 3)
FEATURES = torch.rand(38, 16, generator=torch.Generator().manual_seed(1))
RIGHT = right_label(TOKENS[:, :5], 5, 2)


NAMES = ("perfect_layer1", "force_match", "force_copy")


def clamped(*clamps, seed=0):
    values = {
        "n_layers": 2,
        "d_model": 32,
        "n_heads": 4,
        "vocab_size": 5,
        "n_ctx": 5,
        "d_features": 16,
        "vectors_per_class": 2,
    }
    spec = from_dict(ModelSpec, values | {"positions": "rotary", "clamps": list(clamps)})
    return Transformer(spec).init_weights(seed).set_features(FEATURES)


def query_rows(model, layer=1):
    name = f"blocks.{layer}.attn.pattern"
    return model(TOKENS[:, :5], names=[name])[1][name][:, :, 4]


@pytest.mark.parametrize("strength", [1.0, 0.7, 0.0])
def test_a_match_gives_the_querys_attention_and_nothing_else(strength):
    free, model = clamped(), clamped({"type": "singh2024.force_match", "layer": 1, "head": 2, "strength": strength})
    row = query_rows(model)[:, 2]
    assert torch.allclose(row.gather(1, RIGHT[:, None])[:, 0], torch.tensor(strength))
    assert torch.allclose(row.gather(1, 4 - RIGHT[:, None])[:, 0], torch.tensor(1 - strength))
    assert torch.equal(query_rows(model)[:, [0, 1, 3]], query_rows(free)[:, [0, 1, 3]])
    name = "blocks.1.attn.pattern"
    mine, theirs = (m(TOKENS[:, :5], names=[name])[1][name][:, :, :4] for m in (model, free))
    assert torch.equal(mine, theirs), "other tokens attend as they did"


def test_a_perfect_layer_matches_by_what_stands_before_labels_and_reads_the_embedding():
    """By hand: scores of a pass over the shifted embedding, values of the embedding itself."""
    free, model = clamped(), clamped({"type": "singh2024.perfect_layer1", "layer": 1})
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
    free, model = clamped(), clamped({"type": "singh2024.force_copy", "layer": 1, "head": 1})
    name = "blocks.1.attn.scores"
    scores = free(TOKENS[:, :5], names=[name])[1][name][:, 1, 4]
    logits = model(TOKENS[:, :5])[0][:, -1]
    for b in range(len(TOKENS)):
        labels = TOKENS[b, [1, 3]]
        torch.testing.assert_close(logits[b, labels], scores[b, [1, 3]], atol=1e-5, rtol=1e-5)
        others = [v for v in range(5) if v not in labels.tolist()]
        assert (logits[b, others] == -1e9).all()


def test_a_copy_of_a_clamped_layer_takes_its_clamped_scores():
    perfect = {"type": "singh2024.perfect_layer1", "layer": 1}
    name = "blocks.1.attn.scores"
    scores = clamped(perfect)(TOKENS[:, :5], names=[name])[1][name][:, 1, 4]
    logits = clamped(perfect, {"type": "singh2024.force_copy", "layer": 1, "head": 1})(TOKENS[:, :5])[0][:, -1]
    torch.testing.assert_close(logits.gather(1, TOKENS[:, [1, 3]]), scores[:, [1, 3]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("clamps", "reached", "spared"),
    [
        ([{"type": "singh2024.force_match", "layer": 1, "head": 2}], ["W_F", "blocks.1.attn.W_O", "W_U"], []),
        (
            [{"type": "singh2024.perfect_layer1", "layer": 1}],
            ["W_F", "blocks.1.attn.W_QKV", "W_U"],
            ["blocks.0.attn.W_QKV"],
        ),
        (
            [{"type": "singh2024.force_copy", "layer": 1, "head": 2}],
            ["W_F", "blocks.0.attn.W_QKV"],
            ["W_U", "blocks.1.attn.W_O"],
        ),
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
        ({"type": "singh2024.force_match", "layer": 2, "head": 0}, "clamps: no layer 2; layers are 0 to 1"),
        ({"type": "singh2024.force_match", "layer": 1, "head": 4}, "clamps: no head 4; heads are 0 to 3"),
        ({"type": "singh2024.force_copy", "layer": 1}, "force_copy needs a head"),
        (
            {"type": "singh2024.perfect_layer1", "layer": 1, "head": 0},
            "perfect_layer1 is of all heads of the layer; leave out head",
        ),
        ({"type": "singh2024.force_match", "layer": 1, "strength": 1.5}, "strength must lie between 0 and 1, not 1.5"),
        (
            {"type": "singh2024.force_copy", "layer": 1, "head": 0, "strength": 0.5},
            "ForceCopy: unknown strength; expected layer, head",
        ),
        (
            {"type": "singh2024.force_mach", "layer": 1},
            "no intervention 'singh2024.force_mach'; there are: block_k_composition, .*singh2024.force_match.*",
        ),
        (
            {"type": "force_match", "layer": 1},
            "no intervention 'force_match'; there are: block_k_composition, .*freeze_activation, .*zero_head$",
        ),
    ],
)
def test_a_clamp_that_does_not_fit_is_refused(clamp, message):
    with pytest.raises(ValueError, match=message):
        clamped(clamp)


@pytest.mark.parametrize("name", NAMES)
def test_clamps_of_exemplars_are_not_for_language(name):
    spec = ModelSpec(
        n_layers=2,
        d_model=8,
        n_heads=2,
        vocab_size=9,
        n_ctx=5,
        clamps=[{"type": f"singh2024.{name}", "layer": 1} | ({"head": 0} if name != "perfect_layer1" else {})],
    )
    message = f"{name} is for models that read five tokens, exemplars and labels in turn"
    with pytest.raises(ValueError, match=message):
        Transformer(spec)


def test_a_forced_copy_alone_leaves_nothing_of_the_models_own_logits():
    overwrites = {name: find("intervention", f"singh2024.{name}").overwrites_logits for name in NAMES}
    assert overwrites == {"perfect_layer1": False, "force_match": False, "force_copy": True}


def test_a_clamp_comes_back_from_its_content():
    kind = find("intervention", "singh2024.force_match")
    content = kind(layer=1, head=2, strength=0.7).content()
    assert content == {"type": "singh2024.force_match", "layer": 1, "head": 2, "strength": 0.7}
    [built] = clamped(content).built_clamps
    assert built == kind(layer=1, head=2, strength=0.7)
