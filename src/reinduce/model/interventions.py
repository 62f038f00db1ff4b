"""Interventions on activations, and the capture of activations, during a forward pass.

Ablation, patching and clamping are interventions: each overwrites, adds to or scales the activation
at a site (`reinduce.model.sites`). Every site of the forward pass calls `apply_and_capture`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.model.sites import HEAD_AXIS, position_axis, site_kind, site_shape

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Intervention:
    """Overwrite the activation at a site during a forward pass, add to it, or scale it.

    Zero, a mean, the activation of another input, a stored or an ideal pattern, a direction: all
    are values. Gradients flow through them.

    Raises:
        ValueError: if both `add` and `scale` are set.

    Example:
        >>> zero_one_head = Intervention("blocks.0.attn.z", 0.0, head=1)
        >>> print(zero_one_head)
        blocks.0.attn.z, head 1
        >>> double_second_token = Intervention("resid_post", 2.0, positions=[1], scale=True)
        >>> double_second_token.apply(torch.ones(1, 3, 1)).flatten().tolist()
        [1.0, 2.0, 1.0]
    """

    site: str
    """A name from `site_names`."""
    value: Tensor | float
    """A number, or a tensor that broadcasts to the selected part of the activation (without the axis of
    heads where one head is selected). A value of A rows serves a batch of any multiple of A."""
    head: int | None = None
    """One head; None for all heads, or at a site without heads."""
    rows: slice = field(default_factory=lambda: slice(None))
    """The selected sequences of the batch, so that one batch can carry many interventions."""
    positions: slice | Sequence[int] = field(default_factory=lambda: slice(None))
    """The selected token positions; at `scores` and `pattern` those of the queries."""
    add: bool = False
    """Add the value to the activation."""
    scale: bool = False
    """Multiply the activation by the value."""

    def __post_init__(self) -> None:
        if self.add and self.scale:
            raise ValueError(f"{self.site!r}: an intervention adds or scales, not both")

    @property
    def kind(self) -> str:
        """The site's name without its layer, e.g. 'pattern'."""
        return site_kind(self.site)

    @property
    def overwrites(self) -> bool:
        """True if the intervention overwrites its target."""
        return not (self.add or self.scale)

    @property
    def overwrites_site(self) -> bool:
        """True if a tensor overwrites the whole activation, which then need not be computed."""
        everything = self.head is None and self.rows == self.positions == slice(None)
        return everything and isinstance(self.value, torch.Tensor) and self.overwrites

    @property
    def overwrites_one_head(self) -> bool:
        """True if a tensor overwrites one head, in all rows."""
        one_head = self.head is not None and self.rows == slice(None)
        return one_head and isinstance(self.value, torch.Tensor) and self.overwrites

    @property
    def is_batch_constant(self) -> bool:
        """True if the same value is added to every row."""
        value, axes = torch.as_tensor(self.value), 4 if self.head is None else 3
        return self.add and self.rows == slice(None) and (value.ndim < axes or value.shape[0] == 1)

    def apply(self, x: Tensor) -> Tensor:
        """Return the activation with this intervention applied.

        Args:
            x: the activation at the site, in the site's shape. It is not modified.

        Returns:
            A new tensor of the same shape.
        """
        index: list[slice | list[int]] = [self.rows, *[slice(None)] * (x.ndim - 1)]
        index[position_axis(self.kind)] = self.positions if isinstance(self.positions, slice) else [*self.positions]
        if self.head is not None:
            # A slice, not a number: beside a list of positions a number would move the axes.
            index[HEAD_AXIS[self.kind]] = slice(self.head, self.head + 1)
        if self.scale and all(part == slice(None) for part in index):
            # One product without a copy: a clamp that scales runs in every training step.
            return x * torch.as_tensor(self.value, dtype=x.dtype, device=x.device)
        selected = x[tuple(index)]
        value = torch.as_tensor(self.value, dtype=x.dtype, device=x.device)
        if value.ndim:
            shape = list(selected.shape)
            if self.head is not None:
                del shape[HEAD_AXIS[self.kind]]
            value = broadcast_value(value, shape)
            if self.head is not None:
                value = value.unsqueeze(HEAD_AXIS[self.kind])
        result = x.clone()
        if self.overwrites:
            result[tuple(index)] = value.expand(selected.shape)
        else:
            result[tuple(index)] = selected + value if self.add else selected * value
        return result

    def __str__(self) -> str:
        parts = [self.site]
        parts += [] if self.head is None else [f"head {self.head}"]
        parts += [] if self.rows == slice(None) else [f"rows {format_selection(self.rows)}"]
        parts += [] if self.positions == slice(None) else [f"positions {format_selection(self.positions)}"]
        return ", ".join(parts)


Interventions: TypeAlias = Sequence[Intervention]
"""Interventions on any sites, in the order in which they are applied."""
Cache: TypeAlias = "dict[str, Tensor] | None"
"""Activations by site: a forward pass stores the activation of each site that is a key."""


def empty_cache(names: Iterable[str]) -> dict[str, Tensor]:
    """Make the cache that asks a forward pass for activations.

    Args:
        names: sites to capture.

    Returns:
        A dictionary with the names as its keys. Each value is None until the pass reaches the site.
    """
    return cast("dict[str, Tensor]", dict.fromkeys(names))


def apply_and_capture(name: str, x: Tensor, interventions: Interventions = (), cache: Cache = None) -> Tensor:
    """Apply the interventions on a site to its activation, and store the result if it is asked for.

    Args:
        name: the site.
        x: its activation.
        interventions: interventions on any sites; those on other sites are ignored.
        cache: activations by site; the result is stored if `name` is a key.

    Returns:
        The activation after its interventions, in their order.
    """
    for intervention in interventions:
        if intervention.site == name:
            x = intervention.apply(x)
    if cache is not None and name in cache:
        cache[name] = x
    return x


def resolve_activation(
    spec: ModelSpec,
    name: str,
    x: Tensor | None,
    size: tuple[int, int],
    interventions: Interventions = (),
    cache: Cache = None,
) -> Tensor:
    """Like `apply_and_capture`, starting from the last intervention that overwrites the whole site.

    Args:
        spec: the model's specification.
        name: the site.
        x: its activation; None if an intervention overwrites the whole site.
        size: numbers of sequences and tokens in the batch.
        interventions: interventions on any sites.
        cache: activations by site.

    Returns:
        The activation after its interventions.
    """
    here = [intervention for intervention in interventions if intervention.site == name]
    overwriting = [i for i, intervention in enumerate(here) if intervention.overwrites_site]
    if overwriting:
        value = here[overwriting[-1]].value
        assert isinstance(value, torch.Tensor)
        x, here = broadcast_value(value, site_shape(spec, name, *size)), here[overwriting[-1] + 1 :]
    assert x is not None
    return apply_and_capture(name, x, here, cache)


def overwritten_block_input(
    spec: ModelSpec, interventions: Interventions, size: tuple[int, int]
) -> tuple[int, Tensor] | None:
    """Find the last block whose whole input is overwritten: a forward pass may start there.

    Args:
        spec: the model's specification.
        interventions: interventions on any sites.
        size: numbers of sequences and tokens in the batch.

    Returns:
        The block's index and its input [B T D]; None if no block's input is overwritten.
    """
    found = [each for each in interventions if each.kind == "resid_pre" and each.overwrites_site]
    if not found:
        return None
    first = max(int(each.site.split(".")[1]) for each in found)
    value = next(each.value for each in found if each.site == f"blocks.{first}.resid_pre")
    assert isinstance(value, torch.Tensor)
    return first, broadcast_value(value, site_shape(spec, "resid_post", *size))


def count_positions(positions: slice | Sequence[int], n_ctx: int) -> int:
    """Return how many of `n_ctx` positions are selected."""
    return len(range(n_ctx)[positions]) if isinstance(positions, slice) else len(positions)


def broadcast_value(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast a value to a shape; rows repeat to fill a batch that is a multiple of them.

    Args:
        value: a tensor that broadcasts to `shape`, or one of A rows where `shape[0]` is a multiple of A.
        shape: the result's shape.

    Returns:
        The value in that shape, a view of it wherever rows are not repeated.
    """
    repeated = repeated_shape(value.shape, shape)
    if repeated[0] not in (1, value.shape[0]) and value.shape[0] != 1:
        value = value.repeat(repeated[0] // value.shape[0], *[1] * (value.ndim - 1))
    return value.expand(tuple(shape))


def repeated_shape(shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return the shape of a value whose rows are repeated to fill a batch that is a multiple of them."""
    fills = len(shape) == len(wanted) and shape[0] > 0 and wanted[0] % shape[0] == 0
    return [wanted[0], *shape[1:]] if fills else list(shape)


def format_selection(selection: slice | Sequence[int]) -> str:
    """Format selected rows or positions for a message."""
    if not isinstance(selection, slice):
        return ", ".join(str(i) for i in selection)
    return ":".join("" if end is None else str(end) for end in (selection.start, selection.stop))
