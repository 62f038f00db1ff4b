"""Interventions on several heads at once, as one ordinary forward pass with a list of interventions.

Shape suffixes: B batch, T position, H head, D model width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reinduce.ablate.sweep import DOWNSTREAM
from reinduce.metrics.head_selection import Head
from reinduce.model.ablation_values import METHODS, AblationValues
from reinduce.model.interventions import Intervention
from reinduce.model.patterns import induction_pattern, previous_token_pattern
from reinduce.model.transformer import Transformer, token_losses

MAX_SEQUENCES_PER_PASS = 16
"""Sequences in one forward pass."""

ABLATIONS = [(method, downstream) for downstream in DOWNSTREAM for method in METHODS]
"""Method of the ablation values, and what happens downstream."""

Activations = dict[str, Tensor]
"""Activations of the clean pass by site: the patterns and weighted values of every layer."""
JointIntervention = tuple[tuple[str, str], Sequence[Head]]
"""An intervention and what happens downstream, and the heads that it acts on."""


@torch.no_grad()
def joint_losses(
    model: Transformer,
    tokens_BT: Tensor,
    interventions: Sequence[JointIntervention],
    values: AblationValues,
    seed: int = 0,
) -> list[Tensor]:
    """Compute the losses under each of several joint interventions.

    Args:
        model: the model.
        tokens_BT: token ids.
        interventions: each with its heads. They are those in ABLATIONS; 'ideal_previous_token' and
            'ideal_induction', which overwrite the heads' patterns with ideal ones; and 'norm_matched', which leaves
            the heads and adds noise of the same norm as their summed output to the attention output, in a
            random direction at each position. Downstream of these, everything is recomputed.
        values: the ablation values of these examples.
        seed: of the noise.

    Returns:
        Losses in nats [B T-1] of each.

    Raises:
        ValueError: for an unknown intervention.
    """
    known = [*ABLATIONS, *((name, DOWNSTREAM[0]) for name in OTHER_INTERVENTIONS)]
    for kind, _ in interventions:
        if kind not in known:
            there = ", ".join(f"{name} ({downstream})" for name, downstream in known)
            raise ValueError(f"no intervention {kind[0]} ({kind[1]}); there are: {there}")
    parts = []
    for start in range(0, len(tokens_BT), MAX_SEQUENCES_PER_PASS):
        rows = slice(start, min(start + MAX_SEQUENCES_PER_PASS, len(tokens_BT)))
        tokens = tokens_BT[rows]
        names = [f"blocks.{layer}.attn.{site}" for layer in range(model.spec.n_layers) for site in ("pattern", "z")]
        _, clean = model(tokens, names=names)
        losses = []
        for kind, heads in interventions:
            if kind in ABLATIONS:
                single = ablate_heads(*kind, heads, values, rows, clean)
            else:
                single = OTHER_INTERVENTIONS[kind[0]](model, tokens, heads, clean, seed + start)
            losses.append(token_losses(model(tokens, single)[0], tokens))
        parts.append(losses)
    return [torch.cat(losses) for losses in zip(*parts, strict=True)]


def ablate_heads(
    method: str, downstream: str, heads: Sequence[Head], values: AblationValues, rows: slice, clean: Activations
) -> list[Intervention]:
    """List the interventions that ablate heads on some examples.

    Args:
        method: the method of the ablation values.
        downstream: 'recomputed', or 'frozen_patterns' to freeze all attention patterns.
        heads: the heads.
        values: the ablation values of all examples.
        rows: the examples.
        clean: their clean activations.

    Returns:
        One intervention for each head, and with frozen patterns one for each layer.
    """
    frozen = [name for name in clean if name.endswith("pattern")] if downstream == "frozen_patterns" else []
    return [Intervention(name, clean[name]) for name in frozen] + [
        Intervention(f"blocks.{layer}.attn.z", values.select(method, layer, rows)[:, :, head], head)
        for layer, head in heads
    ]


def _ideal_previous_token(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], clean: Activations, seed: int
) -> list[Intervention]:
    pattern = previous_token_pattern(tokens_BT.shape[1])
    return [Intervention(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


def _ideal_induction(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], clean: Activations, seed: int
) -> list[Intervention]:
    pattern = induction_pattern(tokens_BT)
    return [Intervention(f"blocks.{layer}.attn.pattern", pattern, head) for layer, head in heads]


def _norm_matched_noise(
    model: Transformer, tokens_BT: Tensor, heads: Sequence[Head], clean: Activations, seed: int
) -> list[Intervention]:
    generator = torch.Generator().manual_seed(seed)
    interventions = []
    for layer in sorted({layer for layer, _ in heads}):
        in_layer = [head for at, head in heads if at == layer]
        z_BTHE = clean[f"blocks.{layer}.attn.z"]
        out_BTD = model.blocks[layer].attn.head_out(z_BTHE)[:, :, in_layer].sum(dim=2)
        noise_BTD = torch.randn(out_BTD.shape, generator=generator).to(out_BTD)
        scale = out_BTD.norm(dim=-1, keepdim=True) / noise_BTD.norm(dim=-1, keepdim=True)
        interventions.append(Intervention(f"blocks.{layer}.attn_out", noise_BTD * scale, add=True))
    return interventions


OTHER_INTERVENTIONS: dict[
    str, Callable[[Transformer, Tensor, Sequence[Head], Activations, int], list[Intervention]]
] = {
    "ideal_previous_token": _ideal_previous_token,
    "ideal_induction": _ideal_induction,
    "norm_matched": _norm_matched_noise,
}
"""Name of any other joint intervention → the function that lists its interventions."""
