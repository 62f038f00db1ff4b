"""Models that read feature vectors, and attention over a few tokens."""

import pytest
import torch
import torch.nn.functional as F

from reinduce.config.job_specs import ModelSpec
from reinduce.model import attention
from reinduce.model.interventions import Intervention
from reinduce.model.transformer import Transformer, token_losses, training_losses

FEATURES = torch.rand(9, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    spec = ModelSpec(
        n_layers=2, d_model=32, n_heads=4, vocab_size=5, n_ctx=5, d_features=7, unembedding_bias=True, initial="plain"
    )
    return Transformer(spec).init_weights(0).set_features(FEATURES)


def test_token_ids_beyond_the_vocabulary_stand_for_vectors(model):
    tokens = torch.tensor([[5, 0, 13, 4, 6], [7, 1, 9, 2, 12]])
    embedded = model.embed(tokens)
    assert torch.equal(embedded[0, 1], model.W_E[0]) and torch.equal(embedded[1, 3], model.W_E[2])
    expected = F.linear(FEATURES[[0, 8, 1]], model.W_F, model.b_F)
    torch.testing.assert_close(embedded[0, [0, 2, 4]], expected)


def test_vectors_are_frozen_and_not_in_checkpoints(model):
    assert "features_NF" not in model.state_dict() and "features_NF" not in dict(model.named_parameters())
    training_losses(model, torch.tensor([[5, 0, 13, 4, 6, 0]])).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.W_F.grad.any() and model.b_U.grad.any() and model.W_E.grad[[0, 4]].any()
    with pytest.raises(ValueError, match=r"features of shape \(9, 8\) do not fit; the model expects \[N, 7\]"):
        model.set_features(torch.zeros(9, 8))


def test_one_token_more_than_the_context_is_the_answer(model):
    tokens = torch.tensor([[5, 0, 13, 4, 6, 3], [7, 1, 9, 2, 12, 1]])
    logits, _ = model(tokens[:, :5])
    losses = training_losses(model, tokens)
    assert losses.shape == (2, 1)
    torch.testing.assert_close(losses[:, 0], -logits[:, -1].log_softmax(dim=-1)[[0, 1], [3, 1]])
    plain = Transformer(ModelSpec(n_layers=1, d_model=16, n_heads=2, vocab_size=9, n_ctx=6)).init_weights(0)
    some = torch.randint(9, (3, 6))
    assert torch.equal(training_losses(plain, some), token_losses(plain(some)[0], some))


@pytest.mark.parametrize("added", [None, "a head", "all heads"])
@pytest.mark.parametrize("positions", ["rotary", "shortformer"])
def test_attention_over_a_few_tokens_is_that_over_many(monkeypatch, added, positions):
    spec = ModelSpec(n_layers=2, d_model=32, n_heads=4, vocab_size=11, n_ctx=8, positions=positions)
    model = Transformer(spec).init_weights(0)
    tokens = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(1))
    head = 2 if added == "a head" else None
    interventions = [] if added is None else [Intervention("blocks.0.attn.scores", torch.randn(8, 8), head, add=True)]

    def losses_and_gradient():
        model.zero_grad()
        losses = token_losses(model(tokens, interventions)[0], tokens)
        losses.mean().backward()
        return losses.detach(), model.blocks[0].attn.W_QKV.grad.clone()

    short = losses_and_gradient()
    monkeypatch.setattr(attention, "MAX_ELEMENTWISE_TOKENS", 0)
    for a, b in zip(short, losses_and_gradient(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
