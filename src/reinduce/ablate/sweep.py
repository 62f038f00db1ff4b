"""Exhaustive ablations of heads, and of pairs of heads, many to a forward pass.

A head's ablation puts something else in place of its output (`stand_ins`). In a *full*
ablation everything downstream changes; in a *pattern-preserving* one all attention
patterns keep their intact values, so that only what flows through values changes (Olsson
et al. 2022). Whatever lies below an ablated layer is computed once, a layer's heads lie
side by side on the batch axis, and only losses come out.

Shape suffixes: B batch, T position, H head, E head width, D model width, N lanes x batch:
the edited copies of a batch, one below the other.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reinduce.metrics.head_selection import Head
from reinduce.model.copies import Intact, attended, chunks, copy_losses, with_each_replaced
from reinduce.model.stand_ins import StandIns
from reinduce.model.transformer import Transformer

Found = tuple[slice, str, list[tuple[Head, ...]], Tensor]
"""Which examples, the edit's name, the heads of each copy, and the copies' losses [copies B T-1]."""


def edit_name(kind: str, method: str) -> str:
    """E.g. 'full', 'pattern_preserving_mean': the plain name is that of ablation to zero."""
    return kind if method == "zero" else f"{kind}_{method}"


KINDS = ("full", "pattern_preserving")


def single_heads(
    model: Transformer, tokens_BT: Tensor, puts: StandIns, methods: Sequence[str], kinds: Sequence[str] = KINDS
) -> Iterator[Found]:
    """Losses with each head ablated alone, in every way; in the last layer both kinds are the same."""
    copies = model.spec.heads * len(methods)
    for rows, chunk in chunks(tokens_BT, copies):
        intact = Intact.of(model, chunk)
        for layer in range(model.spec.layers):
            heads = [((layer, head),) for head in range(model.spec.heads)]
            mid_NTD = torch.cat(
                [
                    with_each_replaced(model, layer, intact.mid[layer], intact.z[layer], puts.of(method, layer, rows))
                    for method in methods
                ]
            )
            losses = None
            for kind in kinds:
                # Above the last layer there is no pattern left to keep.
                if losses is None or layer < model.spec.layers - 1:
                    losses = copy_losses(model, layer, mid_NTD, intact.edits(kind, layer), chunk)
                for method, part in zip(methods, losses.chunk(len(methods)), strict=True):
                    yield rows, edit_name(kind, method), heads, part


def pairs_of_heads(
    model: Transformer, tokens_BT: Tensor, puts: StandIns, methods: Sequence[str], kinds: Sequence[str] = KINDS
) -> Iterator[Found]:
    """Losses with every two heads ablated together, in every way."""
    for method in methods:
        for rows, chunk in chunks(tokens_BT, model.spec.heads**2):
            intact = Intact.of(model, chunk)
            for kind in kinds:
                for heads, losses in _pairs(model, chunk, intact, puts, method, rows, kind):
                    yield rows, edit_name(kind, method), heads, losses


def _pairs(
    model: Transformer, tokens_BT: Tensor, intact: Intact, puts: StandIns, method: str, rows: slice, kind: str
) -> Iterator[tuple[list[tuple[Head, ...]], Tensor]]:
    layers, H, B = model.spec.layers, model.spec.heads, len(tokens_BT)
    for first in range(layers):
        edits = intact.edits(kind, first)
        put = puts.of(method, first, rows)
        mid_HBTD = with_each_replaced(model, first, intact.mid[first], intact.z[first], put).view(
            H, *intact.mid[first].shape
        )
        left, right = torch.triu_indices(H, H, 1)
        if len(left):
            # Within a layer removals add up.
            both = mid_HBTD[left] + mid_HBTD[right] - intact.mid[first]
            heads = [((first, a), (first, b)) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
            yield heads, copy_losses(model, first, both.flatten(0, 1), edits, tokens_BT)
        # Across layers the lower head's copies are carried up, and every upper head taken from each.
        x_NTD = model.after_attention(first, mid_HBTD.flatten(0, 1), edits)
        for second in range(first + 1, layers):
            mid_NTD, z_NTHE = attended(model, second, x_NTD, edits)
            without = with_each_replaced(model, second, mid_NTD, z_NTHE, puts.of(method, second, rows))
            heads = [((first, a), (second, b)) for b in range(H) for a in range(H)]
            # The upper head is the outer one of the copies, the lower the inner.
            yield heads, copy_losses(model, second, without, edits, tokens_BT).view(H * H, B, -1)
            x_NTD = model.after_attention(second, mid_NTD, edits)
