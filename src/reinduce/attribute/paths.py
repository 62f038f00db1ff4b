"""Exhaustive path patching: from every head to the queries, keys and values of every later head.

Shape suffixes: B batch, T position, H head, E head width, D model width, N copies (source heads) x batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reinduce.model.ablation_values import AblationValues
from reinduce.model.batched_ablation import (
    CleanCache,
    ablate_each_head,
    attention_forward,
    losses_from_mid,
    microbatches,
)
from reinduce.model.interventions import Intervention
from reinduce.model.transformer import Transformer

Head = tuple[int, int]
"""Layer and head."""
Edge = tuple[Head, Head, str]
"""Source head, receiving head, and the receiving input: q, k or v."""


@torch.no_grad()
def path_patching(
    model: Transformer,
    tokens_BT: Tensor,
    values: AblationValues,
    method: str = "mean",
    kinds: Sequence[str] = ("q", "k", "v"),
    sources: Sequence[int] | None = None,
) -> Iterator[tuple[slice, list[Edge], Tensor]]:
    """Compute the losses with each edge between two heads cut by itself.

    An edge is cut by giving the receiving head's queries, keys or values the stream in which the source's
    output is ablated. Everything between the two keeps its clean value, and everything after the receiving
    head is recomputed. Only the receiving input is computed anew, for all heads of a layer in one product.

    Args:
        model: the model.
        tokens_BT: token ids.
        values: the ablation values of these examples.
        method: the method of the ablation values.
        kinds: receiving inputs.
        sources: layers whose heads are sources; None for all.

    Yields:
        The examples, the edges, and losses in nats [edges B T-1].
    """
    H, layers = model.spec.n_heads, model.spec.n_layers
    sources = [layer for layer in (range(layers) if sources is None else sources) if layer < layers - 1]
    for rows, tokens in microbatches(tokens_BT, H * H):
        clean = CleanCache.run(model, tokens)
        for source in sources:
            # The change of the stream when each head's output is ablated, the same for every reader.
            zero = torch.zeros_like(clean.resid_mid[source])
            value = values.select(method, source, rows)
            change_NTD = ablate_each_head(model, source, zero, clean.z[source], value)
            for target in range(source + 1, layers):
                name = f"blocks.{target}.attn"
                x_NTD = clean.resid_pre[target].repeat(H, 1, 1)
                normed_NTD = model.blocks[target].ln1(x_NTD + change_NTD)
                for kind in kinds:
                    inputs = {k: getattr(clean, k)[target] for k in "qkv"}
                    inputs[kind] = model.blocks[target].attn.project(kind, normed_NTD)
                    interventions = [Intervention(f"{name}.{k}", x) for k, x in inputs.items()]
                    if kind == "v":
                        interventions.append(Intervention(f"{name}.pattern", clean.pattern[target]))
                    _, z_NTHE = attention_forward(model, target, x_NTD, [*clean.clamps, *interventions])
                    # Heads of a layer do not read each other: z holds each receiving head's own part.
                    mid, z = clean.resid_mid[target], clean.z[target]
                    copies = (ablate_each_head(model, target, mid, z, z_BTHE) for z_BTHE in z_NTHE.split(len(tokens)))
                    losses = [losses_from_mid(model, target, copy, clean.clamps, tokens) for copy in copies]
                    edges = [((source, s), (target, h), kind) for s in range(H) for h in range(H)]
                    yield rows, edges, torch.cat(losses)
