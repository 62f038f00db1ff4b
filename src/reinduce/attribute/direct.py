"""Direct logit attribution: direct effects of heads on logits.

Shape suffixes: B batch, Q query, H head, E head width, D model width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from reinduce.model.transformer import Transformer


@torch.no_grad()
def direct_logit_attribution(model: Transformer, repeated_BT: Tensor, period: int) -> list[Tensor]:
    """Compute each head's direct effect on the logit of the next token of a repeat.

    The convention: logits are centred over the vocabulary, and the final layer norm's scale is frozen at its
    value in the clean pass. The target's unembedding is multiplied by the head's output matrix, so that no
    tensor of size batch x heads x width is formed.

    Args:
        model: the model.
        repeated_BT: a start token, then `period` tokens repeated.
        period: the repeat's length in tokens.

    Returns:
        For each layer the effects in logits [B Q H]; queries are the tokens of the second and later repeats
        whose next token lies in the sequence.
    """
    spec = model.spec
    names = [f"blocks.{layer}.attn.z" for layer in range(spec.n_layers)]
    _, cache = model(repeated_BT, names=[*names, "resid_post"])
    queries = slice(1 + period, -1)
    unembedding_VD = model.W_U - model.W_U.mean(dim=0)
    targets_BQD = unembedding_VD[repeated_BT[:, 2 + period :]]
    norm = model.ln_final
    if isinstance(norm, nn.LayerNorm):
        resid = cache["resid_post"][:, queries]
        scale = (resid.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
        targets_BQD = targets_BQD * norm.weight * scale
        # Centring the stream is linear: it can be applied to the target.
        targets_BQD = targets_BQD - targets_BQD.mean(dim=-1, keepdim=True)
    effects = []
    for layer, name in enumerate(names):
        W_DHE = model.blocks[layer].attn.W_O.view(spec.d_model, spec.n_heads, spec.d_head)
        targets_BQHE = torch.einsum("bqd,dhe->bqhe", targets_BQD, W_DHE)
        effects.append((targets_BQHE * cache[name][:, queries]).sum(dim=-1))
    return effects
