"""Whether interventions fit a model and its input, and do not contradict each other."""

from collections.abc import Collection

import torch

from reinduce.config.job_specs import ModelSpec
from reinduce.model.interventions import (
    Intervention,
    Interventions,
    count_positions,
    format_selection,
    repeated_shape,
)
from reinduce.model.sites import HEAD_AXIS, SOLE_CONSUMER, position_axis, site_names, site_shape


def check_interventions(
    spec: ModelSpec,
    interventions: Interventions,
    names: Collection[str] = (),
    batch: int = 1,
    n_ctx: int | None = None,
) -> None:
    """Check that interventions and captured sites fit the model and its input, and do not contradict each other.

    A later intervention contradicts an earlier one if it overwrites what the earlier one changed.
    An intervention also contradicts another that overwrites the only site computed from its own
    (queries under an overwritten pattern): it would have no effect.

    Args:
        spec: the model's specification.
        interventions: in the order in which they are applied.
        names: sites to capture.
        batch: number of sequences.
        n_ctx: number of tokens of each sequence; None for the model's context length.

    Raises:
        ValueError: if anything does not fit. The message lists what exists.
    """
    known = site_names(spec)
    n_ctx = spec.n_ctx if n_ctx is None else n_ctx
    for name in [*(intervention.site for intervention in interventions), *names]:
        if name not in known:
            raise ValueError(f"no site {name!r} in a model of {spec.n_layers} layers; there are: {', '.join(known)}")
    for intervention in interventions:
        _check_head(spec, intervention)
        if not range(batch)[intervention.rows]:
            rows = format_selection(intervention.rows)
            raise ValueError(f"{intervention.site!r}: rows {rows} select nothing; rows are 0 to {batch - 1}")
        _check_positions(intervention, n_ctx)
        _check_value(intervention, site_shape(spec, intervention.site, batch, n_ctx))
    for j, later in enumerate(interventions):
        for earlier in interventions[:j]:
            if later.overwrites and _overlap(earlier, later, batch, n_ctx):
                first = "overwrite" if earlier.overwrites else "add to" if earlier.add else "scale"
                raise ValueError(
                    f"two interventions contradict each other: {first} {earlier}; then overwrite {later}. Overwrite "
                    "each head, row and position of a site at most once, and add to it or scale it only after that"
                )
    for upper in interventions:
        for lower in interventions:
            if _is_shadowed_by(lower, upper, batch, n_ctx):
                raise ValueError(
                    f"two interventions contradict each other: overwriting {upper} undoes the one on {lower}, "
                    f"since {lower.kind} affects {upper.kind} alone. Leave out one of them"
                )


def _check_head(spec: ModelSpec, intervention: Intervention) -> None:
    if intervention.head is None:
        return
    if intervention.kind not in HEAD_AXIS:
        raise ValueError(f"site {intervention.site!r} has no heads; sites with heads end in {', '.join(HEAD_AXIS)}")
    if not 0 <= intervention.head < spec.n_heads:
        raise ValueError(f"no head {intervention.head} at {intervention.site!r}; heads are 0 to {spec.n_heads - 1}")


def _check_positions(intervention: Intervention, n_ctx: int) -> None:
    site, positions = intervention.site, intervention.positions
    if isinstance(positions, slice):
        ends = [end for end in (positions.start, positions.stop) if end is not None]
        outside = [end for end in ends if not -n_ctx <= end <= n_ctx]
        if not range(n_ctx)[positions]:
            selection = format_selection(positions)
            raise ValueError(f"{site!r}: positions {selection} select nothing; positions are 0 to {n_ctx - 1}")
    else:
        if not len(positions):
            raise ValueError(f"{site!r}: the list of positions is empty; positions are 0 to {n_ctx - 1}")
        outside = [position for position in positions if not 0 <= position < n_ctx]
    if outside:
        raise ValueError(f"no position {outside[0]} at {site!r}; positions are 0 to {n_ctx - 1}")


def _check_value(intervention: Intervention, shape: tuple[int, ...]) -> None:
    value = torch.as_tensor(intervention.value)
    if value.ndim == 0:
        return
    selected = [len(range(shape[0])[intervention.rows]), *shape[1:]]
    axis = position_axis(intervention.kind)
    selected[axis] = count_positions(intervention.positions, shape[axis])
    if intervention.head is not None:
        del selected[HEAD_AXIS[intervention.kind]]
    # Not by torch.broadcast_shapes, which imports sympy: two thirds of a second in every job.
    repeated = repeated_shape(value.shape, selected)
    pairs = zip(reversed(repeated), reversed(selected), strict=False)
    if len(repeated) > len(selected) or any(size not in (1, wanted) for size, wanted in pairs):
        shapes = tuple(value.shape), tuple(selected)
        raise ValueError(f"a value of shape {shapes[0]} does not fit {intervention}, which is {shapes[1]}")


def _overlap(a: Intervention, b: Intervention, batch: int, n_ctx: int) -> bool:
    """True if two interventions select the same head, row and position of one site."""
    if a.site != b.site or (None not in (a.head, b.head) and a.head != b.head):
        return False
    rows = set(range(batch)[a.rows]).intersection(range(batch)[b.rows])
    return bool(rows) and bool(_selected_positions(a, n_ctx) & _selected_positions(b, n_ctx))


def _is_shadowed_by(lower: Intervention, upper: Intervention, batch: int, n_ctx: int) -> bool:
    """True if `upper` overwrites, for the same heads and rows, the only site computed from that of `lower`."""
    if not upper.overwrites or lower.site.split(".attn")[0] != upper.site.split(".attn")[0]:
        return False
    if lower.kind not in SOLE_CONSUMER.get(upper.kind, ()) or upper.head not in (None, lower.head):
        return False
    covered = set(range(batch)[lower.rows]) <= set(range(batch)[upper.rows])
    return covered and set(range(n_ctx)) <= _selected_positions(upper, n_ctx)


def _selected_positions(intervention: Intervention, n_ctx: int) -> set[int]:
    positions = intervention.positions
    return set(range(n_ctx)[positions] if isinstance(positions, slice) else positions)
