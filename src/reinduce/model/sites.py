"""The names of a model's activations, and edits to them.

Names follow TransformerLens without its `hook_` prefix, so that the field keeps one
vocabulary. Shapes use B batch, T position, H head, D model width, E head width.

| site | shape | what |
|---|---|---|
| `embed` | B T D | token embedding |
| `blocks.L.resid_pre` | B T D | residual stream before block L |
| `blocks.L.attn.q`, `.k`, `.v` | B T H E | queries, keys (after smearing), values |
| `blocks.L.attn.pattern` | B H T T | attention, query by key, rows sum to one |
| `blocks.L.attn.z` | B T H E | values weighted by the pattern, before the output matrix |
| `blocks.L.attn.head_out` | B T H D | each head's own addition to the residual stream |
| `blocks.L.attn_out` | B T D | sum of the heads |
| `blocks.L.mlp_out` | B T D | the MLP's addition (models with an MLP only) |
| `resid_post` | B T D | residual stream after the last block |
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reinduce.config.specs import ModelSpec

HEAD_AXIS = {"q": 2, "k": 2, "v": 2, "z": 2, "head_out": 2, "pattern": 1}


def site_names(spec: ModelSpec) -> list[str]:
    """Every site of a model, in the order of the forward pass."""
    names = ["embed"]
    for layer in range(spec.layers):
        block = f"blocks.{layer}"
        names.append(f"{block}.resid_pre")
        names += [f"{block}.attn.{kind}" for kind in ("q", "k", "v", "pattern", "z", "head_out")]
        names.append(f"{block}.attn_out")
        if spec.mlp_ratio:
            names.append(f"{block}.mlp_out")
    return [*names, "resid_post"]


@dataclass(frozen=True)
class Edit:
    """Put `value` at a site during a forward pass.

    `value` is a number or a tensor that broadcasts to the selected part of the activation;
    gradients flow through it. `head` selects one head (None: all, or a site without heads),
    `rows` the part of the batch that is edited, so that one batch can carry many edits.
    """

    site: str
    value: Tensor | float
    head: int | None = None
    rows: slice = field(default_factory=lambda: slice(None))

    @property
    def replaces_all(self) -> bool:
        """Whether nothing of the activation is left, so that it need not be computed."""
        return self.head is None and self.rows == slice(None) and isinstance(self.value, Tensor)

    def apply(self, x: Tensor) -> Tensor:
        """The activation with this edit made; the input tensor is left as it was."""
        index = [self.rows] + [slice(None)] * (x.ndim - 1)
        if self.head is not None:
            index[HEAD_AXIS[self.site.rsplit(".", 1)[-1]]] = self.head
        edited = x.clone()
        edited[tuple(index)] = torch.as_tensor(self.value, dtype=x.dtype, device=x.device)
        return edited


def check_sites(spec: ModelSpec, edits: Iterable[Edit], capture: Iterable[str] = ()) -> None:
    """Raise ValueError, listing what exists, if an edit or a captured site does not fit the model."""
    known = site_names(spec)
    for name in [*(edit.site for edit in edits), *capture]:
        if name not in known:
            raise ValueError(f"no site {name!r} in a model of {spec.layers} layers; there are: {', '.join(known)}")
    for edit in edits:
        if edit.head is None:
            continue
        if edit.site.rsplit(".", 1)[-1] not in HEAD_AXIS:
            raise ValueError(f"site {edit.site!r} has no heads; sites with heads end in {', '.join(HEAD_AXIS)}")
        if not 0 <= edit.head < spec.heads:
            raise ValueError(f"no head {edit.head} at {edit.site!r}; heads are 0 to {spec.heads - 1}")
