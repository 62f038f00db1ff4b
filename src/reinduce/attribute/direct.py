"""Direct effects of heads on logits.

Shape suffixes: B batch, Q query, H head, E head width, D model width, V vocabulary.
"""

import torch
from torch import Tensor

from reinduce.model.transformer import Transformer


@torch.no_grad()
def direct_logits(model: Transformer, repeated_BT: Tensor, period: int) -> list[Tensor]:
    """Each head's direct effect on the logit of the next token of a repeat; a list over layers of [B Q H].

    The convention: logits centred over the vocabulary, the final layer norm's scale frozen
    at its value in the intact pass; queries are those of the second and later repeats whose
    next token lies in the sequence. The target's unembedding is taken back
    through the head's output matrix, so nothing of size batch x heads x width is made.
    """
    spec = model.spec
    names = [f"blocks.{layer}.attn.z" for layer in range(spec.layers)]
    _, captured = model(repeated_BT, capture=[*names, "resid_post"])
    queries = slice(1 + period, -1)
    unembedding_VD = model.W_U - model.W_U.mean(dim=0)
    targets_BQD = unembedding_VD[repeated_BT[:, 2 + period :]]
    if spec.layer_norm:
        norm, resid = model.ln_final, captured["resid_post"][:, queries]
        scale = (resid.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
        targets_BQD = targets_BQD * norm.weight * scale
        # Centring the stream is linear: it moves onto the target.
        targets_BQD = targets_BQD - targets_BQD.mean(dim=-1, keepdim=True)
    made = []
    for layer, name in enumerate(names):
        W_ODHE = model.blocks[layer].attn.W_O.view(spec.d_model, spec.heads, spec.d_head)
        wanted_BQHE = torch.einsum("bqd,dhe->bqhe", targets_BQD, W_ODHE)
        made.append((wanted_BQHE * captured[name][:, queries]).sum(dim=-1))
    return made
