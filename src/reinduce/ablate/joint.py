"""Edits to several heads at once, as one ordinary forward pass with a list of edits.

Shape suffixes: B batch, T position, H head, D model width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reinduce.ablate.sweep import edit_name
from reinduce.metrics.head_selection import Head
from reinduce.model.patterns import induction_pattern, previous_token_pattern
from reinduce.model.sites import Edit
from reinduce.model.stand_ins import METHODS, StandIns
from reinduce.model.transformer import Transformer, token_losses

ROWS = 16
"""Sequences edited together."""

KEEP, FREE = "pattern_preserving", "full"
ABLATIONS = {edit_name(kind, method): (kind, method) for kind in (FREE, KEEP) for method in METHODS}
"""Name of an ablation → its kind and what is put in place of the heads."""


Activations = dict[str, Tensor]
"""Activations of the intact pass by site: the patterns and weighted values of every layer."""
JointEdit = tuple[str, Sequence[Head]]
"""A kind of edit, and the heads that it is made to."""


@torch.no_grad()
def joint_losses(
    model: Transformer, tokens_BT: Tensor, edits: Sequence[JointEdit], puts: StandIns, seed: int = 0
) -> list[Tensor]:
    """Losses [B T-1] of each joint edit: one kind of edit made to several heads at once.

    Kinds: a name in ABLATIONS; a head's pattern replaced by the one that its name promises,
    'ideal_previous_token' or 'ideal_induction'; or 'norm_matched': the heads stay, and noise
    as long as their summed output is added where they write, in a direction drawn from `seed`
    for each position. Raises ValueError for another.
    """
    known = [*ABLATIONS, *OTHER_EDITS]
    for kind, _ in edits:
        if kind not in known:
            raise ValueError(f"no edit {kind!r}; there are: {', '.join(known)}")
    parts = []
    for start in range(0, len(tokens_BT), ROWS):
        rows = slice(start, min(start + ROWS, len(tokens_BT)))
        chunk = tokens_BT[rows]
        names = [f"blocks.{layer}.attn.{what}" for layer in range(model.spec.layers) for what in ("pattern", "z")]
        _, intact = model(chunk, capture=names)
        made = []
        for kind, heads in edits:
            if kind in ABLATIONS:
                listed = ablation(*ABLATIONS[kind], heads, puts, rows, intact)
            else:
                listed = OTHER_EDITS[kind](model, chunk, heads, intact, seed + start)
            made.append(token_losses(model(chunk, listed)[0], chunk))
        parts.append(made)
    return [torch.cat(losses) for losses in zip(*parts, strict=True)]


def ablation(
    kind: str, method: str, heads: Sequence[Head], puts: StandIns, rows: slice, intact: Activations
) -> list[Edit]:
    """The edits that ablate heads on some examples: one a head, and in `pattern_preserving` one a layer."""
    patterns = [name for name in intact if name.endswith("pattern")] if kind == KEEP else []
    return [Edit(name, intact[name]) for name in patterns] + [
        Edit(f"blocks.{layer}.attn.z", puts.of(method, layer, rows)[:, :, head], head) for layer, head in heads
    ]


def _attending_back(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], intact: Activations, seed: int
) -> list[Edit]:
    pattern = previous_token_pattern(tokens_BT.shape[1])
    return [Edit(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


def _attending_by_induction(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], intact: Activations, seed: int
) -> list[Edit]:
    pattern = induction_pattern(tokens_BT)
    return [Edit(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


def _noise_as_long(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], intact: Activations, seed: int
) -> list[Edit]:
    generator = torch.Generator().manual_seed(seed)
    edits = []
    for layer in sorted({layer for layer, _ in heads}):
        chosen = [head for at, head in heads if at == layer]
        z_BTHE = intact[f"blocks.{layer}.attn.z"]
        said_BTD = model.blocks[layer].attn.head_out(z_BTHE)[:, :, chosen].sum(dim=2)
        noise_BTD = torch.randn(said_BTD.shape, generator=generator).to(said_BTD)
        length = said_BTD.norm(dim=-1, keepdim=True) / noise_BTD.norm(dim=-1, keepdim=True)
        edits.append(Edit(f"blocks.{layer}.attn_out", noise_BTD * length, add=True))
    return edits


OTHER_EDITS: dict[str, Callable[[Transformer, Tensor, Sequence[Head], Activations, int], list[Edit]]] = {
    "ideal_previous_token": _attending_back,
    "ideal_induction": _attending_by_induction,
    "norm_matched": _noise_as_long,
}
