"""Measures of a head's behaviour, from its attention and its values.

Shape suffixes: B batch, T position, H head, E head width, D model width, V vocabulary.
Decisions where Olsson et al. (2022) leave room are stated at each function and in
docs/measures.md.
"""

import torch
from torch import Tensor

from reinduce.model.patterns import induction_targets
from reinduce.model.transformer import Transformer


def prefix_matching(pattern_BHTT: Tensor, repeated_BT: Tensor, period: int) -> Tensor:
    """Attention to the tokens that induction would predict, per head [H].

    On a start token and `period` distinct tokens repeated: the mean over queries of the
    second and later repeats of the summed attention on every token that followed the
    query's token in an earlier repeat (offset +1; summed, so that a perfect head scores 1
    however many repeats there are). A head that attends evenly scores about 1/period.
    """
    targets = induction_targets(repeated_BT)[:, None]
    queries = slice(1 + period, None)
    return (pattern_BHTT * targets)[:, :, queries].sum(dim=-1).mean(dim=(0, 2))


def previous_token(pattern_BHTT: Tensor) -> Tensor:
    """Mean attention from each token to its predecessor, per head [H]."""
    return pattern_BHTT.diagonal(offset=-1, dim1=2, dim2=3).mean(dim=(0, 2))


def copying(model: Transformer, layer: int, values_BTHE: Tensor, random_BT: Tensor) -> Tensor:
    """How far a head raises the very token it attends to, per head [H], from -1 to 1.

    On a start token and distinct random tokens. Every token of the sample is taken in turn
    as the attended one: the head's output there, through the unembedding, gives logits of
    the sample's tokens; their mean over the sample is subtracted, what is negative dropped,
    and the share of the attended token's own logit taken. The score is twice that mean
    share minus one. Taking tokens in turn, rather than the arg-max of the pattern, keeps
    heads that rest on the start token when nothing repeats from being scored on it
    (footnote 31 of the paper). A head whose output is unrelated scores about -0.9.
    """
    block = model.blocks[layer]
    out_BTHD = block.attn.head_out(values_BTHE[:, 1:])
    scale_D = getattr(model.ln_final, "weight", torch.ones(model.spec.d_model))
    unembedding_BVD = model.W_U[random_BT[:, 1:]] * scale_D
    centred_BTHD = out_BTHD - out_BTHD.mean(dim=-1, keepdim=True) if model.spec.layer_norm else out_BTHD
    logits_BHTV = torch.einsum("bthd,bvd->bhtv", centred_BTHD, unembedding_BVD)
    raised = (logits_BHTV - logits_BHTV.mean(dim=-1, keepdim=True)).clamp(min=0)
    share_BHT = raised.diagonal(dim1=2, dim2=3) / raised.sum(dim=-1).clamp(min=1e-12)
    return 2 * share_BHT.mean(dim=(0, 2)) - 1
