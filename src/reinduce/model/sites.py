"""The names of a model's activations, and edits to them.

Names follow TransformerLens without its `hook_` prefix, so that the field keeps one
vocabulary. Shapes use B batch, T position, H head, D model width, E head width.

| site | shape | what |
|---|---|---|
| `embed` | B T D | token embedding |
| `blocks.L.resid_pre` | B T D | residual stream before block L |
| `blocks.L.attn.q`, `.k`, `.v` | B T H E | queries, keys (after smearing), values |
| `blocks.L.attn.scores` | B H T T | query by key, before the causal mask and the softmax |
| `blocks.L.attn.pattern` | B H T T | attention, query by key, rows sum to one |
| `blocks.L.attn.z` | B T H E | values weighted by the pattern, before the output matrix |
| `blocks.L.attn.head_out` | B T H D | each head's own addition to the residual stream |
| `blocks.L.attn_out` | B T D | sum of the heads |
| `blocks.L.recurrence_out` | B T D | what a recurrence adds (models without attention, in place of all above) |
| `blocks.L.mlp_out` | B T D | the MLP's addition (models with an MLP only) |
| `resid_post` | B T D | residual stream after the last block |
| `logits` | B T V | logits of the next token |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from reinduce.config.specs import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

HEAD_AXIS = {"q": 2, "k": 2, "v": 2, "z": 2, "head_out": 2, "scores": 1, "pattern": 1}
"""Kind of a site with heads → the axis that numbers them."""

READ_ALONE_BY = {"pattern": ("q", "k", "scores"), "attn_out": ("z", "head_out")}
"""Kind of a site → kinds of the same layer that are read for its sake alone."""


def site_names(spec: ModelSpec) -> list[str]:
    """Every site of a model, in the order of the forward pass."""
    names = ["embed"]
    for layer in range(spec.layers):
        block = f"blocks.{layer}"
        names.append(f"{block}.resid_pre")
        if spec.has_heads:
            names += [f"{block}.attn.{kind}" for kind in ("q", "k", "v", "scores", "pattern", "z", "head_out")]
        names.append(f"{block}.attn_out" if spec.has_heads else f"{block}.recurrence_out")
        if spec.mlp_ratio:
            names.append(f"{block}.mlp_out")
    return [*names, "resid_post", "logits"]


def site_shape(spec: ModelSpec, site: str, batch: int, context: int) -> tuple[int, ...]:
    """Shape of the activation at a site that exists."""
    kind = site.rsplit(".", 1)[-1]
    if kind in ("scores", "pattern"):
        return batch, spec.heads, context, context
    if kind in HEAD_AXIS:
        return batch, context, spec.heads, spec.d_model if kind == "head_out" else spec.d_head
    return batch, context, spec.vocabulary if kind == "logits" else spec.d_model


@dataclass(frozen=True)
class Edit:
    """Put `value` at a site during a forward pass, add it to what is there, or scale that by it.

    Zero, a mean, the activation of another input, a stored or an ideal pattern, a
    direction: all are values. `value` is a number or a tensor that broadcasts to the
    selected part of the activation (without the axis of heads where one head is selected);
    gradients flow through it. A value of A rows serves a batch of any multiple of A.
    """

    site: str
    value: Tensor | float
    head: int | None = None
    """One head; None: all, or a site without heads."""
    rows: slice = field(default_factory=lambda: slice(None))
    """The part of the batch that is edited, so that one batch can carry many edits."""
    positions: slice | Sequence[int] = field(default_factory=lambda: slice(None))
    """Token positions; of `scores` and `pattern` the query's."""
    add: bool = False
    """Add the value to the activation instead of putting it in its place."""
    scale: bool = False
    """Multiply the activation by the value: 0 silences, 1 leaves as it is."""

    def __post_init__(self) -> None:
        if self.add and self.scale:
            raise ValueError(f"{self.site!r}: an edit adds or scales, not both")

    @property
    def puts(self) -> bool:
        """Whether nothing is left of what is edited."""
        return not (self.add or self.scale)

    @property
    def kind(self) -> str:
        """What the site is, whatever its layer, e.g. 'pattern'."""
        return self.site.rsplit(".", 1)[-1]

    @property
    def replaces_all(self) -> bool:
        """Whether nothing of the activation is left, so that it need not be computed."""
        everything = self.head is None and self.rows == self.positions == slice(None)
        return everything and isinstance(self.value, torch.Tensor) and self.puts

    @property
    def puts_of_head(self) -> bool:
        """Whether something is put for one head, in all rows."""
        return self.head is not None and self.rows == slice(None) and isinstance(self.value, torch.Tensor) and self.puts

    @property
    def adds_alike(self) -> bool:
        """Whether the same is added to every row."""
        value, axes = torch.as_tensor(self.value), 4 if self.head is None else 3
        return self.add and self.rows == slice(None) and (value.ndim < axes or value.shape[0] == 1)

    def apply(self, x: Tensor) -> Tensor:
        """The activation with this edit made; the input tensor is left as it was."""
        index: list = [self.rows] + [slice(None)] * (x.ndim - 1)
        index[_position_axis(self.kind)] = self.positions if isinstance(self.positions, slice) else [*self.positions]
        if self.head is not None:
            # A slice, not a number: beside a list of positions a number would move the axes.
            index[HEAD_AXIS[self.kind]] = slice(self.head, self.head + 1)
        if self.scale and all(part == slice(None) for part in index):
            # One product: what holds in every step of training should cost little.
            return x * torch.as_tensor(self.value, dtype=x.dtype, device=x.device)
        there = x[tuple(index)]
        value = torch.as_tensor(self.value, dtype=x.dtype, device=x.device)
        if value.ndim:
            selected = list(there.shape)
            if self.head is not None:
                del selected[HEAD_AXIS[self.kind]]
            value = fitted(value, selected)
            if self.head is not None:
                value = value.unsqueeze(HEAD_AXIS[self.kind])
        edited = x.clone()
        if self.puts:
            edited[tuple(index)] = value.expand(there.shape)
        else:
            edited[tuple(index)] = there + value if self.add else there * value
        return edited

    def __str__(self) -> str:
        parts = [self.site]
        parts += [] if self.head is None else [f"head {self.head}"]
        parts += [] if self.rows == slice(None) else [f"rows {_told(self.rows)}"]
        parts += [] if self.positions == slice(None) else [f"positions {_told(self.positions)}"]
        return ", ".join(parts)


def check_edits(
    spec: ModelSpec, edits: Sequence[Edit], capture: Iterable[str] = (), batch: int = 1, context: int | None = None
) -> None:
    """Raise ValueError, listing what exists, for edits or captured sites that do not fit the model
    and an input of `batch` sequences of `context` tokens, or for edits that contradict each other.

    A later edit contradicts an earlier one if it puts something where the earlier one put
    or added something: the earlier would be lost. So would an edit at a site that is read by
    one other alone, where that other is put whole (queries under a pattern).
    """
    known = site_names(spec)
    context = spec.context if context is None else context
    for name in [*(edit.site for edit in edits), *capture]:
        if name not in known:
            raise ValueError(f"no site {name!r} in a model of {spec.layers} layers; there are: {', '.join(known)}")
    for edit in edits:
        _check_head(spec, edit)
        if not range(batch)[edit.rows]:
            raise ValueError(f"{edit.site!r}: rows {_told(edit.rows)} are none of 0 to {batch - 1}")
        _check_positions(edit, context)
        _check_value(edit, site_shape(spec, edit.site, batch, context))
    for j, later in enumerate(edits):
        for earlier in edits[:j]:
            if later.puts and _overlap(earlier, later, batch, context):
                first = "put" if earlier.puts else "add to" if earlier.add else "scale"
                raise ValueError(
                    f"two edits contradict each other: {first} {earlier}; then put {later}. "
                    "Each head, row and position of a site may be put once, and added to or scaled only after that"
                )
    for upper in edits:
        for lower in edits:
            if _lost_under(lower, upper, batch, context):
                raise ValueError(
                    f"two edits contradict each other: put {upper} leaves nothing of what is done at {lower}, "
                    f"which is read by {upper.kind} alone. Leave out one of them"
                )


def _check_head(spec: ModelSpec, edit: Edit) -> None:
    if edit.head is None:
        return
    if edit.kind not in HEAD_AXIS:
        raise ValueError(f"site {edit.site!r} has no heads; sites with heads end in {', '.join(HEAD_AXIS)}")
    if not 0 <= edit.head < spec.heads:
        raise ValueError(f"no head {edit.head} at {edit.site!r}; heads are 0 to {spec.heads - 1}")


def _check_positions(edit: Edit, context: int) -> None:
    if isinstance(edit.positions, slice):
        ends = [end for end in (edit.positions.start, edit.positions.stop) if end is not None]
        outside = [end for end in ends if not -context <= end <= context]
        if not range(context)[edit.positions]:
            raise ValueError(f"{edit.site!r}: positions {_told(edit.positions)} are none of 0 to {context - 1}")
    else:
        if not len(edit.positions):
            raise ValueError(f"{edit.site!r}: no positions are chosen; there are 0 to {context - 1}")
        outside = [position for position in edit.positions if not 0 <= position < context]
    if outside:
        raise ValueError(f"no position {outside[0]} at {edit.site!r}; positions are 0 to {context - 1}")


def _check_value(edit: Edit, shape: tuple[int, ...]) -> None:
    value = torch.as_tensor(edit.value)
    if value.ndim == 0:
        return
    selected = [len(range(shape[0])[edit.rows]), *shape[1:]]
    axis = _position_axis(edit.kind)
    chosen = edit.positions
    selected[axis] = how_many(chosen, shape[axis])
    if edit.head is not None:
        del selected[HEAD_AXIS[edit.kind]]
    # By hand: torch's own function imports a library of symbols, two thirds of a second in every job.
    given = _repeated_shape(value.shape, selected)
    pairs = zip(reversed(given), reversed(selected), strict=False)
    if len(given) > len(selected) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ValueError(f"a value of shape {tuple(value.shape)} does not fit {edit}, which is {tuple(selected)}")


def _overlap(a: Edit, b: Edit, batch: int, context: int) -> bool:
    """Whether two edits touch the same head, row and position of one site."""
    if a.site != b.site or (None not in (a.head, b.head) and a.head != b.head):
        return False
    rows = set(range(batch)[a.rows]).intersection(range(batch)[b.rows])
    places = [range(context)[e.positions] if isinstance(e.positions, slice) else e.positions for e in (a, b)]
    return bool(rows) and bool(set(places[0]).intersection(places[1]))


def _lost_under(lower: Edit, upper: Edit, batch: int, context: int) -> bool:
    """Whether nothing comes of an edit because the site that alone reads it is put, for the same heads and rows."""
    if not upper.puts or lower.site.split(".attn")[0] != upper.site.split(".attn")[0]:
        return False
    if lower.kind not in READ_ALONE_BY.get(upper.kind, ()) or upper.head not in (None, lower.head):
        return False
    covered = set(range(batch)[lower.rows]) <= set(range(batch)[upper.rows])
    places = range(context)[upper.positions] if isinstance(upper.positions, slice) else upper.positions
    return covered and set(range(context)) <= set(places)


def how_many(positions: slice | Sequence[int], context: int) -> int:
    """How many positions of a context are chosen."""
    return len(range(context)[positions]) if isinstance(positions, slice) else len(positions)


def _position_axis(kind: str) -> int:
    return 2 if kind in ("scores", "pattern") else 1


def _repeated_shape(shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The shape of a value once its rows are repeated to fill a batch that is a multiple of them."""
    fills = len(shape) == len(wanted) and shape[0] > 0 and wanted[0] % shape[0] == 0
    return [wanted[0], *shape[1:]] if fills else list(shape)


def fitted(value: Tensor, wanted: Sequence[int]) -> Tensor:
    """The value broadcast to a shape, its rows repeated to fill a batch that is a multiple of them."""
    shape = _repeated_shape(value.shape, wanted)
    if shape[0] not in (1, value.shape[0]) and value.shape[0] != 1:
        value = value.repeat(shape[0] // value.shape[0], *[1] * (value.ndim - 1))
    return value.expand(wanted)


def _told(which: slice | Sequence[int]) -> str:
    if not isinstance(which, slice):
        return ", ".join(str(i) for i in which)
    return ":".join("" if end is None else str(end) for end in (which.start, which.stop))
