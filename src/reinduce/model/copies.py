"""Many edited copies of a batch in one pass: what every sweep over edits is made of.

Whatever lies below an edited layer is computed once; copies lie one below the other on the
batch axis, the copy's number outside, the example's inside.

Shape suffixes: B batch, T position, H head, E head width, D model width, N copies x batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reinduce.model.sites import Edit
from reinduce.model.transformer import Transformer, token_losses

TOKENS = 8192
"""Tokens of all copies in one pass: enough to fill a core, few enough to stay near its cache."""
LOGITS = 1 << 19
"""Logits made at a time, for the same reason."""


@dataclass(frozen=True)
class Intact:
    """What an unedited pass over some examples leaves behind, layer by layer."""

    clamps: list[Edit]
    pre: list[Tensor] = field(default_factory=list)
    """The stream before a layer [B T D]."""
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)
    """Queries, keys, values, and values weighted by the pattern [B T H E]."""
    pattern: list[Tensor] = field(default_factory=list)
    """Attention [B H T T]."""
    mid: list[Tensor] = field(default_factory=list)
    """The stream between a layer's attention and its MLP [B T D]."""

    @staticmethod
    def of(model: Transformer, tokens_BT: Tensor) -> "Intact":
        made = Intact(model.clamps(tokens_BT))
        x_BTD = model.embed(tokens_BT)
        for layer in range(model.spec.layers):
            captured = {f"blocks.{layer}.attn.{kind}": None for kind in ("q", "k", "v", "pattern")}
            mid_BTD, z_BTHE = attended(model, layer, x_BTD, made.clamps, captured)
            for name, value in captured.items():
                getattr(made, name.rsplit(".", 1)[-1]).append(value)
            made.pre.append(x_BTD)
            made.mid.append(mid_BTD)
            x_BTD = model.after_attention(layer, mid_BTD, made.clamps)
        return made

    def edits(self, kind: str, layer: int) -> list[Edit]:
        """What holds above an ablated layer: the model's own clamps, and intact patterns where these are kept."""
        if kind == "full":
            return self.clamps
        kept = [Edit(f"blocks.{i}.attn.pattern", self.pattern[i]) for i in range(layer + 1, len(self.pattern))]
        return [*self.clamps, *kept]


def attended(
    model: Transformer, layer: int, x_NTD: Tensor, edits: Sequence[Edit], captured: dict | None = None
) -> tuple[Tensor, Tensor]:
    """The stream after a layer's attention [N T D], and the heads' weighted values [N T H E]."""
    captured = {} if captured is None else captured
    captured[f"blocks.{layer}.attn.z"] = None
    mid = x_NTD + model.attention(layer, model.blocks[layer].ln1(x_NTD), edits, captured)
    return mid, captured[f"blocks.{layer}.attn.z"]


def with_each_replaced(model: Transformer, layer: int, mid_NTD: Tensor, z_NTHE: Tensor, put_BTHE: Tensor) -> Tensor:
    """Copies of the stream, each with one head's output replaced [(H N) T D]; the head is the outer part."""
    (N, T, H, E), D = z_NTHE.shape, mid_NTD.shape[-1]
    W_HED = model.blocks[layer].attn.W_O.view(D, H, E).permute(1, 2, 0)
    B = len(put_BTHE)
    change = (put_BTHE - z_NTHE.view(N // B, B, T, H, E)).permute(3, 0, 1, 2, 4).reshape(H, N * T, E)
    made = torch.baddbmm(mid_NTD.reshape(1, N * T, D).expand(H, -1, -1), change, W_HED)
    return made.view(H * N, T, D)


def copy_losses(model: Transformer, layer: int, mid_NTD: Tensor, edits: Sequence[Edit], tokens_BT: Tensor) -> Tensor:
    """Losses [N/B B T-1] of copies that stand between a layer's attention and its MLP."""
    x = model.resid(model.after_attention(layer, mid_NTD, edits), edits, first=layer + 1)
    B, T = tokens_BT.shape
    targets = tokens_BT.repeat(len(x) // B, 1)
    rows = max(1, LOGITS // (T * model.spec.vocabulary))
    parts = zip(x.split(rows), targets.split(rows), strict=True)
    return torch.cat([token_losses(model.unembed(part), wanted) for part, wanted in parts]).view(-1, B, T - 1)


def chunks(tokens_BT: Tensor, copies: int) -> Iterator[tuple[slice, Tensor]]:
    rows = max(1, TOKENS // (copies * tokens_BT.shape[1]))
    for start in range(0, len(tokens_BT), rows):
        where = slice(start, min(start + rows, len(tokens_BT)))
        yield where, tokens_BT[where]
