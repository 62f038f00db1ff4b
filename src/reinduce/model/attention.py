"""Causal attention as functions of queries, keys and values: fused, element by element, or with explicit patterns.

All give the same numbers up to rounding (`tests/model/test_attention.py`).

Shape suffixes: A, B batch, T position, H head, E head width, N copies of a batch.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ELEMENTWISE_TOKENS = 8
"""Longest context for which attention is computed element by element."""


def fused_attention(q_BTHE: Tensor, k_BTHE: Tensor, v_BTHE: Tensor, bias_1HTT: Tensor | None = None) -> Tensor:
    """Weight values by causal attention, without forming the attention pattern.

    Args:
        q_BTHE: queries.
        k_BTHE: keys.
        v_BTHE: values.
        bias_1HTT: added to the scores; it must include the causal mask. None for the causal mask alone.

    Returns:
        Weighted values [B T H E].
    """
    if q_BTHE.shape[1] <= MAX_ELEMENTWISE_TOKENS:
        return elementwise_attention(q_BTHE, k_BTHE, v_BTHE, bias_1HTT)
    q, k, v = (part.transpose(1, 2) for part in (q_BTHE, k_BTHE, v_BTHE))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias_1HTT, is_causal=bias_1HTT is None).transpose(1, 2)


def fused_attention_with_lse(
    q_BTHE: Tensor, k_BTHE: Tensor, v_BTHE: Tensor, bias_1HTT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Like `fused_attention`, and return the log-sum-exp of the scores too.

    The weight of a key is exp(score - lse): a few weights can be had without the whole pattern.

    Args:
        q_BTHE: queries.
        k_BTHE: keys.
        v_BTHE: values.
        bias_1HTT: added to the scores, with the causal mask; None for the causal mask alone.

    Returns:
        Weighted values [B T H E], and the logarithm of each query's summed exponentiated scores [B H T].
    """
    q, k, v = (part.transpose(1, 2) for part in (q_BTHE, k_BTHE, v_BTHE))
    if bias_1HTT is None and q_BTHE.device.type == "cpu":
        z, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
        return z.transpose(1, 2), lse
    z = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_1HTT, is_causal=bias_1HTT is None).transpose(1, 2)
    scores = q @ k.transpose(2, 3) / math.sqrt(q_BTHE.shape[-1])
    scores = mask_future(scores) if bias_1HTT is None else scores + bias_1HTT
    return z, scores.logsumexp(dim=-1)


def elementwise_attention(q_BTHE: Tensor, k_BTHE: Tensor, v_BTHE: Tensor, bias_1HTT: Tensor | None = None) -> Tensor:
    """Like `fused_attention`, by elementwise products, which `torch.compile` fuses into one loop."""
    scores_BTTH = _elementwise_products(q_BTHE, k_BTHE) / math.sqrt(q_BTHE.shape[-1])
    if bias_1HTT is None:
        future = future_mask(q_BTHE.shape[1], q_BTHE.device)
        scores_BTTH = scores_BTTH.masked_fill(future[None, :, :, None], -math.inf)
    else:
        scores_BTTH = scores_BTTH + bias_1HTT.permute(0, 2, 3, 1)
    return (scores_BTTH.softmax(dim=2)[..., None] * v_BTHE[:, None]).sum(dim=2)


def attention_scores(q_BTHE: Tensor, k_BTHE: Tensor) -> Tensor:
    """Compute attention scores, query by key, without the causal mask.

    Args:
        q_BTHE: queries.
        k_BTHE: keys.

    Returns:
        Scores [B H T T].
    """
    if use_elementwise(q_BTHE.shape[1]):
        return _elementwise_products(q_BTHE, k_BTHE).permute(0, 3, 1, 2) / math.sqrt(q_BTHE.shape[-1])
    return q_BTHE.transpose(1, 2) @ k_BTHE.permute(0, 2, 3, 1) / math.sqrt(q_BTHE.shape[-1])


def apply_pattern(pattern_AHTT: Tensor, v_BTHE: Tensor) -> Tensor:
    """Weight values by explicit attention patterns.

    Args:
        pattern_AHTT: attention patterns, query by key.
        v_BTHE: values; B is A or a multiple of it. The patterns of A sequences then serve several copies of
            them, which are laid side by side along the head width, so that no pattern is repeated.

    Returns:
        Weighted values [B T H E].
    """
    A, (B, T, H, E) = pattern_AHTT.shape[0], v_BTHE.shape
    if use_elementwise(T) and A in (1, B):
        return (pattern_AHTT.permute(0, 2, 3, 1)[..., None] * v_BTHE[:, None]).sum(dim=2)
    v_AHTNE = v_BTHE.view(B // A, A, T, H, E).permute(1, 3, 2, 0, 4)
    z_AHTNE = (pattern_AHTT @ v_AHTNE.reshape(A, H, T, -1)).view(A, H, T, B // A, E)
    return z_AHTNE.permute(3, 0, 2, 1, 4).reshape(B, T, H, E)


def apply_head_pattern(pattern_BQT: Tensor, v_BTE: Tensor) -> Tensor:
    """Weight one head's values by patterns of some queries [B Q E]."""
    if use_elementwise(v_BTE.shape[1]):
        return (pattern_BQT[..., None] * v_BTE[:, None]).sum(dim=2)
    return pattern_BQT @ v_BTE


def use_elementwise(n_tokens: int) -> bool:
    """True if matrix products over so many tokens are computed element by element: short ones, while compiling."""
    return n_tokens <= MAX_ELEMENTWISE_TOKENS and torch.compiler.is_compiling()


def mask_future(scores: Tensor) -> Tensor:
    """Set the scores of future keys to minus infinity, in scores [... T T], query by key."""
    return scores.masked_fill(future_mask(scores.shape[-1], scores.device), -math.inf)


def future_mask(n_tokens: int, device: torch.device) -> Tensor:
    """Return the mask [T T], query by key, that is true for keys after the query."""
    return torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=device).triu(1)


def _elementwise_products(q_BTHE: Tensor, k_BTHE: Tensor) -> Tensor:
    """Products of queries and keys [B T T H]."""
    return (q_BTHE[:, :, None] * k_BTHE[:, None]).sum(dim=-1)
