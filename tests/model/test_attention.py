"""Every way of computing attention against an explicit pattern: fused, element by element, several copies at once."""

import math

import pytest
import torch

from reinduce.model import attention
from reinduce.model.attention import (
    MAX_ELEMENTWISE_TOKENS,
    apply_head_pattern,
    apply_pattern,
    attention_scores,
    elementwise_attention,
    fused_attention,
    fused_attention_with_lse,
    mask_future,
)

B, H, E = 3, 4, 8
lengths = pytest.mark.parametrize("T", [1, 5, MAX_ELEMENTWISE_TOKENS, MAX_ELEMENTWISE_TOKENS + 1, 24])
biases = pytest.mark.parametrize("biased", [False, True], ids=["no bias", "bias"])


def drawn(T):
    """Queries, keys and values [B T H E], and a bias [1 H T T] with one forbidden key."""
    generator = torch.Generator().manual_seed(T)
    q, k, v = (torch.randn(B, T, H, E, generator=generator) for _ in "qkv")
    bias = torch.randn(1, H, T, T, generator=generator)
    if T > 2:
        bias[:, 1, 2, 1] = -math.inf
    return q, k, v, bias


def explicit(q, k, v, bias=None):
    """Weighted values and log-sum-exp by the definition, query by query and key by key."""
    T = q.shape[1]
    z, lse = torch.zeros_like(v), torch.zeros(B, H, T)
    for t in range(T):
        scores = torch.stack([(q[:, t] * k[:, s]).sum(dim=-1) / math.sqrt(E) for s in range(t + 1)], dim=-1)
        if bias is not None:
            scores = scores + bias[:, :, t, : t + 1]
        weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        z[:, t] = torch.einsum("bhs,bshe->bhe", weights, v[:, : t + 1])
        lse[:, :, t] = scores.exp().sum(dim=-1).log()
    return z, lse


@lengths
@biases
def test_every_way_gives_the_explicit_patterns_values(T, biased):
    q, k, v, bias = drawn(T)
    given = mask_future(bias) if biased else None
    z, lse = explicit(q, k, v, bias if biased else None)
    scores = attention_scores(q, k) + (bias if biased else 0)
    pattern = mask_future(scores).softmax(dim=-1)
    fused_with_lse = fused_attention_with_lse(q, k, v, given)
    for found in (
        fused_attention(q, k, v, given),
        fused_with_lse[0],
        elementwise_attention(q, k, v, given),
        apply_pattern(pattern, v),
        torch.stack([apply_head_pattern(pattern[:, h], v[:, :, h]) for h in range(H)], dim=2),
    ):
        torch.testing.assert_close(found, z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused_with_lse[1], lse, atol=1e-5, rtol=1e-5)


def test_the_log_sum_exp_off_the_processor_equals_that_of_the_processors_kernel():
    """Where there is no kernel that returns it, it is computed from the scores."""
    q, k, v, _ = drawn(24)
    on_cpu = fused_attention_with_lse(q, k, v)
    no_bias = mask_future(torch.zeros(1, 1, 24, 24))
    for a, b in zip(fused_attention_with_lse(q, k, v, no_bias), on_cpu, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@lengths
def test_elementwise_products_equal_matrix_products(T, monkeypatch):
    """They are used while compiling; here without a compiler."""
    q, k, v, _ = drawn(T)
    pattern = mask_future(attention_scores(q, k)).softmax(dim=-1)

    def products():
        one_head = apply_head_pattern(pattern[:, 2], v[:, :, 2])
        return attention_scores(q, k), apply_pattern(pattern, v), apply_pattern(pattern[:1], v), one_head

    by_matrices = products()
    monkeypatch.setattr(attention, "use_elementwise", lambda n_tokens: True)
    for a, b in zip(products(), by_matrices, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_gradients_of_fused_and_elementwise_attention_agree():
    q, k, v, bias = drawn(MAX_ELEMENTWISE_TOKENS)
    found = []
    for way in (elementwise_attention, lambda *given: fused_attention_with_lse(*given)[0]):
        parts = [part.clone().requires_grad_() for part in (q, k, v)]
        way(*parts, mask_future(bias)).square().sum().backward()
        found.append([part.grad for part in parts])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_patterns_of_few_sequences_serve_several_copies():
    _, _, v, _ = drawn(24)
    copies = torch.cat((v, v.flip(1), 2 * v))
    pattern = torch.rand(B, H, 24, 24, generator=torch.Generator().manual_seed(1)).tril()
    expected = torch.cat([apply_pattern(pattern, part) for part in copies.split(B)])
    torch.testing.assert_close(apply_pattern(pattern, copies), expected, atol=1e-5, rtol=1e-5)
    repeated = apply_pattern(pattern.repeat(3, 1, 1, 1), copies)
    torch.testing.assert_close(apply_pattern(pattern, copies), repeated, atol=1e-5, rtol=1e-5)
