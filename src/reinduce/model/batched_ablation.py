"""Ablations of many heads in one forward pass: what every sweep over heads is built on.

Everything below an ablated layer is computed once. The ablated copies of a batch lie one after another
on the batch axis: index (copy, example), the copy outermost.

Shape suffixes: B batch, T position, H head, E head width, D model width, N copies x batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reinduce.model.interventions import Cache, Intervention, Interventions, empty_cache
from reinduce.model.transformer import Transformer, token_losses

MAX_TOKENS_PER_PASS = 8192
"""Tokens of all copies in one pass: enough to fill a core, few enough to stay in its cache."""
MAX_LOGITS_PER_PASS = 1 << 19
"""Logits computed at a time, for the same reason."""


@dataclass(frozen=True)
class CleanCache:
    """Activations of the clean pass (without ablations) over some examples, layer by layer."""

    clamps: list[Intervention]
    """The model's own clamps for these examples."""
    resid_pre: list[Tensor] = field(default_factory=list)
    """The stream before a layer [B T D]."""
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)
    """Queries, keys, values, and values weighted by the pattern [B T H E]."""
    pattern: list[Tensor] = field(default_factory=list)
    """Attention [B H T T]."""
    resid_mid: list[Tensor] = field(default_factory=list)
    """The stream between a layer's attention and its MLP [B T D]."""

    @staticmethod
    def run(model: Transformer, tokens_BT: Tensor) -> "CleanCache":
        """Run the model without ablations and keep its activations.

        Args:
            model: the model.
            tokens_BT: token ids.

        Returns:
            The activations of all layers.
        """
        clean = CleanCache(model.clamps(tokens_BT))
        x_BTD = model.embed(tokens_BT)
        for layer in range(model.spec.n_layers):
            cache = empty_cache(f"blocks.{layer}.attn.{kind}" for kind in ("q", "k", "v", "pattern"))
            mid_BTD, z_BTHE = attention_forward(model, layer, x_BTD, clean.clamps, cache)
            for name, value in cache.items():
                getattr(clean, name.rsplit(".", 1)[-1]).append(value)
            clean.resid_pre.append(x_BTD)
            clean.resid_mid.append(mid_BTD)
            x_BTD = model.after_attention(layer, mid_BTD, clean.clamps)
        return clean

    def interventions_above(self, downstream: str, layer: int) -> list[Intervention]:
        """List the interventions on the layers above an ablated one.

        Args:
            downstream: "recomputed", or "frozen_patterns" to freeze the attention patterns above.
            layer: the ablated layer.

        Returns:
            The model's own clamps and, if patterns are frozen, the clean patterns of the layers above.
        """
        if downstream == "recomputed":
            return self.clamps
        above = range(layer + 1, len(self.pattern))
        return [*self.clamps, *(Intervention(f"blocks.{i}.attn.pattern", self.pattern[i]) for i in above)]


def attention_forward(
    model: Transformer, layer: int, x_NTD: Tensor, interventions: Interventions, cache: Cache = None
) -> tuple[Tensor, Tensor]:
    """Run a layer's attention.

    Args:
        model: the model.
        layer: the layer's index.
        x_NTD: the stream before the layer.
        interventions: interventions on any sites.
        cache: activations by site; the sites that are keys are captured, and `z` in addition.

    Returns:
        The stream after the attention [N T D], and the heads' weighted values [N T H E].
    """
    cache = {} if cache is None else cache
    cache |= empty_cache([f"blocks.{layer}.attn.z"])
    mid = x_NTD + model.attention(layer, model.blocks[layer].ln1(x_NTD), interventions, cache)
    return mid, cache[f"blocks.{layer}.attn.z"]


def ablate_each_head(model: Transformer, layer: int, mid_NTD: Tensor, z_NTHE: Tensor, value_BTHE: Tensor) -> Tensor:
    """Copy the stream for each head of a layer, with that head's output overwritten.

    Args:
        model: the model.
        layer: the layer's index.
        mid_NTD: the stream after the layer's attention.
        z_NTHE: the heads' weighted values in that stream.
        value_BTHE: the weighted values that overwrite them; N is a multiple of B.

    Returns:
        The copies [(H N) T D]; the head is the outer index.
    """
    (N, T, H, E), D = z_NTHE.shape, mid_NTD.shape[-1]
    W_HED = model.blocks[layer].attn.W_O.view(D, H, E).permute(1, 2, 0)
    B = len(value_BTHE)
    change = (value_BTHE - z_NTHE.view(N // B, B, T, H, E)).permute(3, 0, 1, 2, 4).reshape(H, N * T, E)
    copies = torch.baddbmm(mid_NTD.reshape(1, N * T, D).expand(H, -1, -1), change, W_HED)
    return copies.view(H * N, T, D)


def losses_from_mid(
    model: Transformer, layer: int, mid_NTD: Tensor, interventions: Interventions, tokens_BT: Tensor
) -> Tensor:
    """Run copies from the middle of a layer to their losses.

    Args:
        model: the model.
        layer: the layer's index.
        mid_NTD: the copies' streams after the layer's attention.
        interventions: interventions on the rest of the forward pass.
        tokens_BT: token ids of the examples; N is a multiple of B.

    Returns:
        Losses of all next tokens in nats [N/B B T-1].
    """
    mid_NTD = model.after_attention(layer, mid_NTD, interventions)
    x = model.run_blocks(mid_NTD, interventions, first=layer + 1)
    B, T = tokens_BT.shape
    targets = tokens_BT.repeat(len(x) // B, 1)
    rows = max(1, MAX_LOGITS_PER_PASS // (T * model.spec.vocab_size))
    parts = zip(x.split(rows), targets.split(rows), strict=True)
    return torch.cat([token_losses(model.unembed(part), tokens) for part, tokens in parts]).view(-1, B, T - 1)


def microbatches(tokens_BT: Tensor, copies: int) -> Iterator[tuple[slice, Tensor]]:
    """Split examples so that all copies of a part fit one pass.

    Args:
        tokens_BT: token ids.
        copies: copies of each example in a pass.

    Yields:
        The part's rows in the batch, and their tokens.
    """
    rows = max(1, MAX_TOKENS_PER_PASS // (copies * tokens_BT.shape[1]))
    for start in range(0, len(tokens_BT), rows):
        selected = slice(start, min(start + rows, len(tokens_BT)))
        yield selected, tokens_BT[selected]
