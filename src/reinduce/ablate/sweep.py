"""Exhaustive ablations of heads, and of pairs of heads, many in one forward pass.

An ablation overwrites a head's output (`ablation_values`). Downstream, everything is recomputed, or all
attention patterns are frozen at their clean values, so that only what flows through values changes (the
pattern-preserving ablation of Olsson et al. 2022). Everything below an ablated layer is computed
once, the copies with one ablated head each lie side by side on the batch axis, and only losses are kept.

Shape suffixes: B batch, T position, H head, E head width, D model width, N copies x batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reinduce.metrics.head_selection import Head
from reinduce.model.ablation_values import AblationValues
from reinduce.model.batched_ablation import (
    CleanCache,
    ablate_each_head,
    attention_forward,
    losses_from_mid,
    microbatches,
)
from reinduce.model.transformer import Transformer

SweepLosses = tuple[slice, tuple[str, str], list[tuple[Head, ...]], Tensor]
"""The examples, the ablation (method, what is downstream), the ablated heads of each copy, and the copies' losses in
nats [copies B T-1]."""

DOWNSTREAM = ("recomputed", "frozen_patterns")
"""What happens downstream of an ablated head: everything is recomputed, or all but attention patterns."""


def single_heads(
    model: Transformer,
    tokens_BT: Tensor,
    values: AblationValues,
    methods: Sequence[str],
    downstream: Sequence[str] = DOWNSTREAM,
) -> Iterator[SweepLosses]:
    """Ablate each head by itself.

    Args:
        model: the model.
        tokens_BT: token ids of the examples.
        values: the ablation values of these examples.
        methods: names of ablation values.
        downstream: some of DOWNSTREAM; in the last layer all are the same.

    Yields:
        Losses of each part of the examples, for each ablation: one copy for each head of a layer.
    """
    for rows, tokens in microbatches(tokens_BT, model.spec.n_heads * len(methods)):
        clean = CleanCache.run(model, tokens)
        for layer in range(model.spec.n_layers):
            heads: list[tuple[Head, ...]] = [((layer, head),) for head in range(model.spec.n_heads)]
            mid, z = clean.resid_mid[layer], clean.z[layer]
            selected = [values.select(method, layer, rows) for method in methods]
            mid_NTD = torch.cat([ablate_each_head(model, layer, mid, z, value) for value in selected])
            losses = None
            for kind in downstream:
                # Above the last layer there is no pattern to freeze.
                if losses is None or layer < model.spec.n_layers - 1:
                    above = clean.interventions_above(kind, layer)
                    losses = losses_from_mid(model, layer, mid_NTD, above, tokens)
                for method, part in zip(methods, losses.chunk(len(methods)), strict=True):
                    yield rows, (method, kind), heads, part


def pairs_of_heads(
    model: Transformer,
    tokens_BT: Tensor,
    values: AblationValues,
    methods: Sequence[str],
    downstream: Sequence[str] = DOWNSTREAM,
) -> Iterator[SweepLosses]:
    """Ablate every two heads together.

    Args:
        model: the model.
        tokens_BT: token ids of the examples.
        values: the ablation values of these examples.
        methods: names of ablation values.
        downstream: some of DOWNSTREAM.

    Yields:
        Losses of each part of the examples, for each ablation: one copy for each of some pairs.
    """
    for method in methods:
        for rows, tokens in microbatches(tokens_BT, model.spec.n_heads**2):
            clean = CleanCache.run(model, tokens)
            for kind in downstream:
                for heads, losses in _pairs(model, tokens, clean, values, method, rows, kind):
                    yield rows, (method, kind), heads, losses


def _pairs(
    model: Transformer,
    tokens_BT: Tensor,
    clean: CleanCache,
    values: AblationValues,
    method: str,
    rows: slice,
    kind: str,
) -> Iterator[tuple[list[tuple[Head, ...]], Tensor]]:
    layers, H, B = model.spec.n_layers, model.spec.n_heads, len(tokens_BT)
    for first in range(layers):
        above = clean.interventions_above(kind, first)
        mid_BTD, value = clean.resid_mid[first], values.select(method, first, rows)
        mid_HBTD = ablate_each_head(model, first, mid_BTD, clean.z[first], value).view(H, *mid_BTD.shape)
        left, right = torch.triu_indices(H, H, 1)
        if len(left):
            # Within a layer the changes of two heads add up.
            both = mid_HBTD[left] + mid_HBTD[right] - mid_BTD
            heads: list[tuple[Head, ...]] = [
                ((first, a), (first, b)) for a, b in zip(left.tolist(), right.tolist(), strict=True)
            ]
            yield heads, losses_from_mid(model, first, both.flatten(0, 1), above, tokens_BT)
        # Across layers the copies with a lower head ablated run upwards, and in each every upper head is ablated.
        x_NTD = model.after_attention(first, mid_HBTD.flatten(0, 1), above)
        for second in range(first + 1, layers):
            mid_NTD, z_NTHE = attention_forward(model, second, x_NTD, above)
            both = ablate_each_head(model, second, mid_NTD, z_NTHE, values.select(method, second, rows))
            heads = [((first, a), (second, b)) for b in range(H) for a in range(H)]
            # The upper head is the outer index of the copies, the lower one the inner.
            yield heads, losses_from_mid(model, second, both, above, tokens_BT).view(H * H, B, -1)
            x_NTD = model.after_attention(second, mid_NTD, above)
