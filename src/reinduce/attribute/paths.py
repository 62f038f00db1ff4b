"""Path patching, exhaustively: every earlier head to the queries, keys and values of every later one.

Shape suffixes: B batch, T position, H head, E head width, D model width, S sources, N sources x batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reinduce.model.copies import Intact, attended, chunks, copy_losses, with_each_replaced
from reinduce.model.sites import Edit
from reinduce.model.stand_ins import StandIns
from reinduce.model.transformer import Transformer

Head = tuple[int, int]
HeadPath = tuple[Head, Head, str]
"""Source head, receiving head, and what of it receives: q, k or v."""


@torch.no_grad()
def path_losses(
    model: Transformer,
    tokens_BT: Tensor,
    puts: StandIns,
    method: str = "mean",
    kinds: Sequence[str] = ("q", "k", "v"),
    sources: Sequence[int] | None = None,
) -> Iterator[tuple[slice, list[HeadPath], Tensor]]:
    """Examples, paths, and losses [paths B T-1] with each path alone cut.

    A path is cut by giving one head's queries, keys or values the stream in which the
    source's output is replaced; everything between the two keeps its intact value, and what
    follows from the receiver runs free. Only the receiving part is computed anew, for all
    heads of a layer in one product. `sources`: layers whose heads are sources (None: all).
    """
    H, layers = model.spec.heads, model.spec.layers
    sources = [layer for layer in (range(layers) if sources is None else sources) if layer < layers - 1]
    for rows, chunk in chunks(tokens_BT, H * H):
        intact = Intact.of(model, chunk)
        for source in sources:
            put = puts.of(method, source, rows)
            # What replacing each head's output adds to the stream, whoever reads it.
            zero = torch.zeros_like(intact.mid[source])
            change_NTD = with_each_replaced(model, source, zero, intact.z[source], put)
            for target in range(source + 1, layers):
                name = f"blocks.{target}.attn"
                x_BTD = intact.pre[target]
                normed_NTD = model.blocks[target].ln1(x_BTD.repeat(H, 1, 1) + change_NTD)
                for kind in kinds:
                    received = {k: getattr(intact, k)[target] for k in "qkv"}
                    received[kind] = model.blocks[target].attn.project(kind, normed_NTD)
                    edits = [*intact.clamps, *(Edit(f"{name}.{k}", value) for k, value in received.items())]
                    if kind == "v":
                        edits.append(Edit(f"{name}.pattern", intact.pattern[target]))
                    _, z_NTHE = attended(model, target, x_BTD.repeat(H, 1, 1), edits)
                    # Heads of a layer do not read each other: each receiver's own part is in z.
                    losses = torch.cat(
                        [
                            copy_losses(
                                model,
                                target,
                                with_each_replaced(model, target, intact.mid[target], intact.z[target], z_BTHE),
                                intact.clamps,
                                chunk,
                            )
                            for z_BTHE in z_NTHE.split(len(chunk))
                        ]
                    )
                    yield (
                        rows,
                        [((source, s), (target, h), kind) for s in range(H) for h in range(H)],
                        losses,
                    )
