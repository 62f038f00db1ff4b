"""What is put in place of a head's output when it is ablated.

`zero`: nothing. `mean`: the head's mean output at the position over all examples, which
keeps what it says whatever the input. `resample`: its output at the position on another
example, which keeps how it speaks but not about what.

Shape suffixes: B batch, T position, H head, E head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reinduce.model.transformer import Transformer

METHODS = ("zero", "mean", "resample")


@dataclass(frozen=True)
class StandIns:
    """Per layer, every head's weighted values `z` on all examples [B T H E]."""

    z_LBTHE: list[Tensor]

    def of(self, method: str, layer: int, rows: slice) -> Tensor:
        """What stands in for the heads of a layer on some examples [b T H E], or [1 ...] for the same on all.

        Raises ValueError for a method that does not exist.
        """
        z = self.z_LBTHE[layer]
        if method == "zero":
            return torch.zeros_like(z[:1])
        if method == "mean":
            return z.mean(dim=0, keepdim=True)
        if method == "resample":
            # The next example, the first for the last: no example is its own.
            return z.roll(-1, dims=0)[rows]
        raise ValueError(f"nothing to put called {method!r}; there are: {', '.join(METHODS)}")


@torch.no_grad()
def stand_ins(model: Transformer, tokens_BT: Tensor, rows: int = 16) -> StandIns:
    """Run the intact model over the examples, `rows` at a time, and keep what its heads say."""
    names = [f"blocks.{layer}.attn.z" for layer in range(model.spec.layers)]
    parts = [model(chunk, capture=names)[1] for chunk in tokens_BT.split(rows)]
    return StandIns([torch.cat([part[name] for part in parts]) for name in names])
