"""The values that overwrite a head's output when it is ablated.

- `zero`: zero.
- `mean`: the head's mean output at the position over all examples, which keeps what does not depend on
  the input.
- `resample`: its output at the position on another example, which keeps the distribution of its outputs.

Shape suffixes: B batch, T position, H head, E head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reinduce.model.transformer import Transformer

METHODS = ("zero", "mean", "resample")


@dataclass(frozen=True)
class AblationValues:
    """Every head's weighted values on all examples, from which ablations take theirs."""

    z_LBTHE: list[Tensor]
    """The weighted values `z` of each layer [B T H E]."""

    def select(self, method: str, layer: int, rows: slice) -> Tensor:
        """Return the values that overwrite a layer's heads on some examples.

        Args:
            method: a name in METHODS.
            layer: the layer's index.
            rows: the examples.

        Returns:
            Weighted values [b T H E], or [1 T H E] if they are the same for all examples.

        Raises:
            ValueError: for an unknown method.
        """
        z = self.z_LBTHE[layer]
        if method == "zero":
            return torch.zeros_like(z[:1])
        if method == "mean":
            return z.mean(dim=0, keepdim=True)
        if method == "resample":
            # The next example, and the first for the last: no example gets its own value.
            return z.roll(-1, dims=0)[rows]
        raise ValueError(f"no ablation method {method!r}; there are: {', '.join(METHODS)}")


@torch.no_grad()
def collect_ablation_values(model: Transformer, tokens_BT: Tensor, rows: int = 16) -> AblationValues:
    """Run the model over examples and keep its heads' weighted values.

    Args:
        model: the model.
        tokens_BT: token ids.
        rows: examples in one forward pass.

    Returns:
        The values of all heads on all examples.
    """
    names = [f"blocks.{layer}.attn.z" for layer in range(model.spec.n_layers)]
    parts = [model(part, names=names)[1] for part in tokens_BT.split(rows)]
    return AblationValues([torch.cat([part[name] for part in parts]) for name in names])
