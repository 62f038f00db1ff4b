"""Metrics of a head's behaviour, from its attention and its values.

Shape suffixes: B batch, T position, H head, E head width, D model width, V vocabulary, O offset.
What Olsson et al. (2022) leave open is decided at each function; docs/metrics.md lists the choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from reinduce.config.declare import metric
from reinduce.metrics.inputs import MetricInputs
from reinduce.metrics.tolerances import SHARES

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.model.transformer import Transformer

PREVIOUS_TOKEN_EXAMPLES = 8
"""Held-out documents whose attention is looked at, the first ones; the paper used one."""


@metric(
    level="head",
    unit="share of attention",
    value_range=(0, 1),
    evaluation_set="repeated",
    also=("random",),
    halves=True,
    sites=("attention",),
    source="Olsson et al. 2022",
    null="0.02–0.04 for even attention, 0 for a previous-token head",
    tolerance=SHARES,
)
def prefix_matching(inputs: MetricInputs, layer: int) -> Tensor:
    """Attention to the tokens that induction would predict, on a start token and distinct tokens repeated.

    The mean over queries of the second and later repeats of the summed attention on every token that
    followed the query's token in an earlier repeat. A perfect head scores 1, a head that attends evenly
    about one over the period.

    The paper leaves two things open. Offset: its words mean the token before the earlier occurrence, its
    definition the token after it; here it is the token after (offset +1). Mean: averaging over the earlier
    occurrences would give a perfect head 0.5 with four repeats, and the paper reports up to 0.98; here the
    attention is summed over them, then averaged over the queries.
    """
    period, context = inputs.period, inputs.tokens.shape[1]
    return match_prefixes(inputs.attention(layer, repeat_offsets(period, context)), period)


@metric(
    level="head",
    unit="share of attention",
    value_range=(0, 1),
    evaluation_set="heldout",
    examples=PREVIOUS_TOKEN_EXAMPLES,
    sites=("attention",),
    source="Olsson et al. 2022",
    null="below 0.1 in an untrained model",
    tolerance=SHARES,
)
def previous_token(inputs: MetricInputs, layer: int) -> Tensor:
    """Mean attention from each token to its predecessor.

    The paper takes one example; here it is the mean over several, and over every token but the first.
    """
    return inputs.attention(layer, [1])[0][..., 1:].mean(dim=(0, 2))


@metric(
    level="head",
    unit="share of raised logits, rescaled",
    value_range=(-1, 1),
    evaluation_set="random",
    sites=("v",),
    source="Olsson et al. 2022, footnote 31",
    null="about -0.9 for a head whose output is unrelated",
    tolerance=SHARES,
)
def copying(inputs: MetricInputs, layer: int) -> Tensor:
    """How far a head raises the very token it attends to, on a start token and distinct random tokens.

    Every token of the sample is taken in turn as the attended one: the head's output there, through the
    unembedding, gives logits of the sample's tokens; their mean over the sample is subtracted, what is
    negative dropped, and the share of the attended token's own logit taken. The score is twice that mean
    share minus one: the paper scales "0 to 0.5" to the range from -1 to 1. An unrelated head therefore scores
    about -0.9, not 0.

    The paper does not state which token counts as the attended one, and notes that some heads score
    anomalously low without a start token. Taking all tokens in turn, after a start token that is not scored,
    scores a head that attends to the start token when nothing repeats by what it copies.
    """
    return score_copying(inputs.model, layer, inputs.cache[f"blocks.{layer}.attn.v"], inputs.tokens)


def repeat_offsets(period: int, context: int) -> list[int]:
    """Return how far back the targets of induction lie, on a start token and `period` tokens repeated."""
    return list(range(period - 1, context - 2, period))


def match_prefixes(weights_OBHT: Tensor, period: int) -> Tensor:
    """Return prefix matching [H] of attention at `repeat_offsets` [O B H T]."""
    _, B, _, T = weights_OBHT.shape
    # The start token is nobody's earlier occurrence: what follows it is never a target.
    found = [
        w[..., offset + 2 :].sum(dim=(0, 2)) for w, offset in zip(weights_OBHT, repeat_offsets(period, T), strict=True)
    ]
    return torch.stack(found).sum(dim=0) / (B * (T - 1 - period))


def score_copying(model: Transformer, layer: int, values_BTHE: Tensor, random_BT: Tensor) -> Tensor:
    """Return the copying score [H] of a layer's heads, from their values on sequences of random tokens."""
    block = model.blocks[layer]
    out_BTHD = block.attn.head_out(values_BTHE[:, 1:])
    scale_D = getattr(model.ln_final, "weight", torch.ones(model.spec.d_model))
    unembedding_BVD = model.W_U[random_BT[:, 1:]] * scale_D
    centred_BTHD = out_BTHD - out_BTHD.mean(dim=-1, keepdim=True) if model.spec.layer_norm else out_BTHD
    logits_BHTV = torch.einsum("bthd,bvd->bhtv", centred_BTHD, unembedding_BVD)
    raised = (logits_BHTV - logits_BHTV.mean(dim=-1, keepdim=True)).clamp(min=0)
    share_BHT = raised.diagonal(dim1=2, dim2=3) / raised.sum(dim=-1).clamp(min=1e-12)
    return 2 * share_BHT.mean(dim=(0, 2)) - 1
