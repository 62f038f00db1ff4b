"""Measures of a head's behaviour, from its attention and its values.

Shape suffixes: B batch, T position, H head, E head width, D model width, V vocabulary.
Decisions where Olsson et al. (2022) leave room are stated at each function and in
docs/measures.md.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from reinduce.model.transformer import Transformer


@torch.no_grad()
def attention_at(model: Transformer, tokens_BT: Tensor, offsets: Sequence[int]) -> list[Tensor]:
    """Attention from every query to the key some tokens before it; a list over layers of [O B H T].

    0 where the key would lie before the sequence. No pattern is formed, and nothing above
    the last layer's queries and keys is computed.
    """
    edits = model.clamps(tokens_BT)
    formed = {edit.site for edit in edits if edit.kind in ("pattern", "scores")}
    x, made = model.embed(tokens_BT, edits), []
    for layer in range(model.spec.layers):
        name = f"blocks.{layer}.attn"
        kinds = ("pattern",) if formed & {f"{name}.pattern", f"{name}.scores"} else ("q", "k", "lse")
        captured = {f"{name}.{kind}": None for kind in kinds}
        if layer < model.spec.layers - 1:
            x = model.block(layer, x, edits, captured)
        else:
            model.attention(layer, model.blocks[layer].ln1(x), edits, captured)
        found = [captured[f"{name}.{kind}"] for kind in kinds]
        made.append(diagonals(*found, offsets) if kinds == ("pattern",) else fused_diagonals(*found, offsets))
    return made


def diagonals(pattern_BHTT: Tensor, offsets: Sequence[int]) -> Tensor:
    """A pattern's attention to the keys some tokens back [O B H T], 0 before the sequence."""
    return torch.stack([F.pad(pattern_BHTT.diagonal(-offset, 2, 3), (offset, 0)) for offset in offsets])


def fused_diagonals(q_BTHE: Tensor, k_BTHE: Tensor, lse_BHT: Tensor, offsets: Sequence[int]) -> Tensor:
    """The same from queries, keys, and the logarithm of the summed exponentiated scores."""
    T, made = q_BTHE.shape[1], []
    for offset in offsets:
        scores_BTH = (q_BTHE[:, offset:] * k_BTHE[:, : T - offset]).sum(dim=-1) / math.sqrt(q_BTHE.shape[-1])
        weights_BHT = (scores_BTH.transpose(1, 2) - lse_BHT[:, :, offset:]).exp()
        made.append(F.pad(weights_BHT, (offset, 0)))
    return torch.stack(made)


def repeat_offsets(period: int, context: int) -> list[int]:
    """How far back the targets of induction lie, on a start token and `period` tokens repeated."""
    return list(range(period - 1, context - 2, period))


def prefix_matching(weights_OBHT: Tensor, period: int) -> Tensor:
    """Attention to the tokens that induction would predict, per head [H].

    On a start token and `period` distinct tokens repeated: the mean over queries of the
    second and later repeats of the summed attention on every token that followed the
    query's token in an earlier repeat (offset +1; summed, so that a perfect head scores 1
    however many repeats there are). A head that attends evenly scores about 1/period.
    `weights_OBHT`: attention at `repeat_offsets`.
    """
    _, B, _, T = weights_OBHT.shape
    # The start token is nobody's earlier occurrence: what follows it is never a target.
    found = [
        w[..., offset + 2 :].sum(dim=(0, 2)) for w, offset in zip(weights_OBHT, repeat_offsets(period, T), strict=True)
    ]
    return torch.stack(found).sum(dim=0) / (B * (T - 1 - period))


def previous_token(weights_BHT: Tensor) -> Tensor:
    """Mean attention from each token to its predecessor, per head [H], of weights one token back."""
    return weights_BHT[..., 1:].mean(dim=(0, 2))


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
