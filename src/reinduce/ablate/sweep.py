"""Ablations of heads, many to a forward pass.

A head's ablation is an edit that puts zero in place of its output. In a *full* ablation
everything downstream changes; in a *pattern-preserving* one all attention patterns keep
their intact values, so that only what flows through values changes (Olsson et al. 2022).

Shape suffixes: B batch, T position, H head, D model width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reinduce.ablate.choose import Head
from reinduce.model.patterns import induction_pattern, previous_token_pattern
from reinduce.model.sites import Edit
from reinduce.model.transformer import Transformer, token_losses

CHUNK = 8
"""Sequences edited together: with a layer's heads on the batch axis they fill a core."""


def head_name(head: Head) -> str:
    """E.g. '1.3' for head 3 of the second layer."""
    return f"{head[0]}.{head[1]}"


@torch.no_grad()
def single_head_losses(model: Transformer, tokens_BT: Tensor) -> tuple[Tensor, dict[str, dict[Head, Tensor]]]:
    """Intact losses [B T-1], and those with each head ablated alone, for 'full' and 'pattern_preserving'.

    The residual stream below the ablated layer is made once and a layer's heads run side by
    side as one batch. In the last layer both kinds of ablation are the same.
    """
    intact, parts = zip(*(_single_heads(model, chunk) for chunk in tokens_BT.split(CHUNK)), strict=True)
    return torch.cat(intact), {
        edit: {head: torch.cat([part[edit][head] for part in parts]) for head in parts[0][edit]} for edit in parts[0]
    }


def _single_heads(model: Transformer, tokens_BT: Tensor) -> tuple[Tensor, dict[str, dict[Head, Tensor]]]:
    spec, (B, T) = model.spec, tokens_BT.shape
    captured = dict.fromkeys(
        f"blocks.{layer}.{kind}"
        for layer in range(spec.layers)
        for kind in ("resid_pre", "attn.pattern", "attn.head_out")
    )
    resid = model.resid(model.embed(tokens_BT), captured=captured)
    intact = token_losses(model.unembed(resid), tokens_BT)
    repeated = tokens_BT.repeat(spec.heads, 1)
    made: dict[str, dict[Head, Tensor]] = {"full": {}, "pattern_preserving": {}}
    for layer in range(spec.layers):
        heads_BTHD = captured[f"blocks.{layer}.attn.head_out"]
        # Row h of the batch lacks head h.
        without = (heads_BTHD.sum(dim=2, keepdim=True) - heads_BTHD).permute(2, 0, 1, 3).flatten(0, 1)
        resid = captured[f"blocks.{layer}.resid_pre"].repeat(spec.heads, 1, 1) + without
        resid = model.after_attention(layer, resid)
        # One copy of the patterns serves all rows.
        kept = [
            Edit(f"blocks.{later}.attn.pattern", captured[f"blocks.{later}.attn.pattern"])
            for later in range(layer + 1, spec.layers)
        ]
        for edit, edits in (("full", []), ("pattern_preserving", kept)):
            if edit == "pattern_preserving" and not kept:
                losses = made["full"]
                made[edit].update({(layer, head): losses[layer, head] for head in range(spec.heads)})
                continue
            logits = model.unembed(model.resid(resid, edits, first=layer + 1))
            per_head = token_losses(logits, repeated).view(spec.heads, B, T - 1)
            made[edit].update({(layer, head): per_head[head] for head in range(spec.heads)})
    return intact, made


@torch.no_grad()
def joint_losses(model: Transformer, tokens_BT: Tensor, edit: str, heads: Sequence[Head]) -> Tensor:
    """Losses [B T-1] with one kind of edit made to several heads at once.

    `edit`: 'full', 'pattern_preserving', or a head's pattern replaced by the one that its
    name promises: 'ideal_previous_token', 'ideal_induction'. Raises ValueError for another.
    """
    if edit not in JOINT_EDITS:
        raise ValueError(f"no edit {edit!r}; there are: {', '.join(JOINT_EDITS)}")
    return _by_chunk(
        lambda chunk: token_losses(model(chunk, JOINT_EDITS[edit](model, chunk, heads))[0], chunk), tokens_BT
    )


def _zero(model: Transformer, tokens_BT: Tensor, heads: Sequence[Head]) -> list[Edit]:
    return [Edit(f"blocks.{layer}.attn.z", 0.0, head) for layer, head in heads]


def _zero_keeping_patterns(model: Transformer, tokens_BT: Tensor, heads: Sequence[Head]) -> list[Edit]:
    names = [f"blocks.{layer}.attn.pattern" for layer in range(model.spec.layers)]
    _, patterns = model(tokens_BT, capture=names)
    return [Edit(name, patterns[name]) for name in names] + _zero(model, tokens_BT, heads)


def _attending_back(model: Transformer, tokens_BT: Tensor, heads: Sequence[Head]) -> list[Edit]:
    pattern = previous_token_pattern(tokens_BT.shape[1])
    return [Edit(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


def _attending_by_induction(model: Transformer, tokens_BT: Tensor, heads: Sequence[Head]) -> list[Edit]:
    pattern = induction_pattern(tokens_BT)
    return [Edit(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


JOINT_EDITS: dict[str, Callable[[Transformer, Tensor, Sequence[Head]], list[Edit]]] = {
    "full": _zero,
    "pattern_preserving": _zero_keeping_patterns,
    "ideal_previous_token": _attending_back,
    "ideal_induction": _attending_by_induction,
}


def _by_chunk(losses: Callable[[Tensor], Tensor], tokens_BT: Tensor) -> Tensor:
    return torch.cat([losses(chunk) for chunk in tokens_BT.split(CHUNK)])
