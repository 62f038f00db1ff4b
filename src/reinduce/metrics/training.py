"""Metrics of a whole training run, from the curves of its checkpoints' metrics.

A curve is a list of (step, value), ascending; between checkpoints it is read as straight.
All are defined for runs without a phase change too, so that a control can be held to the
same metric. The curve of a head's metric is that of the best head.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reinduce.config.declare import metric
from reinduce.metrics.tolerances import NATS, SHARES, STEPS

if TYPE_CHECKING:
    from reinduce.config.metric_settings import MetricSettings

Curve = list[tuple[int, float]]
Curves = Mapping[str, Curve]

GAIN = 0.75
"""Share of the final in-context score that the window must hold (Olsson et al. 2022: over 75 %)."""
GRID = 200
"""Points at which a window's ends are tried: half a per cent of training."""


@metric(
    level="run",
    unit="nats a token",
    after=("icl_score",),
    null="0 for a run whose score does not change",
    tolerance=NATS,
)
def icl_gain(curves: Curves, settings: MetricSettings) -> float:
    """Fall of the in-context score from the first to the last checkpoint."""
    score = curves["icl_score"]
    return score[0][1] - score[-1][1]


@metric(
    level="run",
    unit="step",
    after=("icl_score",),
    null="null for a run whose score does not change",
    tolerance=STEPS,
)
def icl_midpoint(curves: Curves, settings: MetricSettings) -> dict[str, float | None]:
    """First step at which the in-context score has gone half of its way; one for every pair of ranges."""
    named = {pair.name: midpoint(curves[f"icl_score:{pair.name}"]) for pair in settings.icl_position_ranges}
    return {"": midpoint(curves["icl_score"])} | named


@metric(level="run", unit="step", after=("prefix_matching",), null="null for a model without heads", tolerance=STEPS)
def prefix_midpoint(curves: Curves, settings: MetricSettings) -> float | None:
    """First step at which the best head's prefix matching has gone half of its way."""
    best = curves.get("prefix_matching")
    return midpoint(best) if best else None


@metric(
    level="run",
    unit="step",
    after=("prefix_matching",),
    null="null for a run that never has an induction head",
    tolerance=STEPS,
)
def induction_onset_step(curves: Curves, settings: MetricSettings) -> float | None:
    """First step at which the best head's prefix matching reaches the threshold of an induction head."""
    best = curves.get("prefix_matching")
    return first_crossing(best, settings.induction_threshold) if best else None


@metric(level="run", unit="step", after=("loss",), null="null if the loss never bends downward", tolerance=STEPS)
def loss_bump_step(curves: Curves, settings: MetricSettings) -> float | None:
    """Step of the loss curve's strongest downward bend."""
    return loss_bump(curves["loss"])


@metric(level="run", unit="nats", value_range=(0, None), after=("loss",), null="0 for a convex curve", tolerance=NATS)
def loss_bump_size(curves: Curves, settings: MetricSettings) -> float:
    """Largest distance of the loss curve above the greatest convex curve below it."""
    return bump_above_hull(curves["loss"])


@metric(level="run", unit="step", after=("icl_score",), null="null without a fall of the score", tolerance=STEPS)
def window_start(curves: Curves, settings: MetricSettings) -> float | None:
    """Start of the phase-change window: the narrowest stretch of training that holds 75 % of the score's fall.

    The paper selects a window "based on the derivative of the in-context score"; here the rule is the same
    for every run. A gradual curve has a window too, only a wide one.
    """
    found = phase_change_window(curves["icl_score"])
    return found[0] if found else None


@metric(level="run", unit="step", after=("icl_score",), null="null without a fall of the score", tolerance=STEPS)
def window_end(curves: Curves, settings: MetricSettings) -> float | None:
    """End of the phase-change window."""
    found = phase_change_window(curves["icl_score"])
    return found[1] if found else None


@metric(
    level="run",
    unit="share of training",
    value_range=(0, 1),
    after=("icl_score",),
    null="0.75 for a straight fall",
    tolerance=SHARES,
)
def phase_change_fraction(curves: Curves, settings: MetricSettings) -> float | None:
    """Width of the phase-change window over the length of training."""
    score = curves["icl_score"]
    found = phase_change_window(score)
    return (found[1] - found[0]) / score[-1][0] if found else None


@metric(
    level="run",
    unit="slope over slope",
    value_range=(0, None),
    after=("icl_score",),
    null="1 for a straight fall; null if the window ends the run",
    tolerance=NATS,
)
def post_window_slope_ratio(curves: Curves, settings: MetricSettings) -> float | None:
    """Size of the score's slope after the phase-change window over that within it."""
    score = curves["icl_score"]
    found = phase_change_window(score)
    return slope_ratio(score, found) if found else None


def interpolate(curve: Curve, step: float) -> float:
    """Return the curve's value at a step, straight between checkpoints, constant beyond its ends."""
    steps = [s for s, _ in curve]
    i = bisect_right(steps, step)
    if i == 0:
        return curve[0][1]
    if i == len(curve):
        return curve[-1][1]
    (s0, v0), (s1, v1) = curve[i - 1], curve[i]
    return v0 + (v1 - v0) * (step - s0) / (s1 - s0)


def slope(curve: Curve, start: float, end: float) -> float:
    """Return the mean change per step from start to end."""
    return (interpolate(curve, end) - interpolate(curve, start)) / (end - start)


def phase_change_window(score: Curve) -> tuple[float, float] | None:
    """Return the narrowest stretch of training that holds `GAIN` of the fall from first to last score.

    The in-context score falls as it grows better. None if it did not fall at all.
    """
    gain = score[0][1] - score[-1][1]
    if gain <= 0:
        return None
    last = score[-1][0]
    grid = [last * i / GRID for i in range(GRID + 1)]
    values = [interpolate(score, step) for step in grid]
    best = None
    end = 0
    for start in range(GRID + 1):
        end = max(end, start)
        while end <= GRID and values[start] - values[end] < GAIN * gain:
            end += 1
        if end > GRID:
            break
        if best is None or end - start < best[1] - best[0]:
            best = (start, end)
    return (grid[best[0]], grid[best[1]]) if best else None


def first_crossing(curve: Curve, level: float) -> float | None:
    """Return the first step at which the curve reaches `level` from where it starts, or None."""
    rising = curve[0][1] < level
    for (s0, v0), (s1, v1) in zip(curve, curve[1:], strict=False):
        if (v1 >= level) if rising else (v1 <= level):
            return s0 + (s1 - s0) * (level - v0) / (v1 - v0) if v1 != v0 else float(s0)
    return None


def midpoint(curve: Curve) -> float | None:
    """Return the first step at which a curve has gone half of its way from first to last value."""
    return first_crossing(curve, (curve[0][1] + curve[-1][1]) / 2) if curve[0][1] != curve[-1][1] else None


def slope_ratio(score: Curve, window: tuple[float, float]) -> float | None:
    """Return the size of the slope after a window over that within it; None if the window ends the run."""
    start, end = window
    last = score[-1][0]
    within = slope(score, start, end)
    return abs(slope(score, end, last)) / abs(within) if end < last and within else None


def loss_bump(loss: Curve) -> float | None:
    """Return the step of the loss curve's strongest downward bend: where its fall gathers speed most.

    The most negative second difference over equal steps of a twentieth of training, which
    is wider than the wiggles between checkpoints; None if the curve never bends downward.
    """
    last = loss[-1][0]
    h = last / 20
    grid = [last * i / GRID for i in range(GRID + 1)]
    bends = [
        (interpolate(loss, s - h) - 2 * interpolate(loss, s) + interpolate(loss, s + h), s)
        for s in grid
        if h <= s <= last - h
    ]
    strongest = min(bends)
    return strongest[1] if strongest[0] < 0 else None


def bump_above_hull(loss: Curve) -> float:
    """Return how far the loss stands above the greatest convex curve below it, in nats; 0 if it is convex itself.

    A curve that falls ever more slowly is convex; a plateau before a second fall is not.
    """
    hull: Curve = []
    for step, value in loss:
        # The last corner goes if it does not lie below the line that passes it by.
        while len(hull) > 1 and hull[-1][1] >= interpolate([hull[-2], (step, value)], hull[-1][0]):
            hull.pop()
        hull.append((step, value))
    return max(value - interpolate(hull, step) for step, value in loss)


def read_window(rows: Iterable[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Return a run's phase-change window from its rows of table `trajectories`, or None if it has none."""
    values = {row["metric"]: row["value"] for row in rows}
    start, end = values.get("window_start"), values.get("window_end")
    return None if start is None or end is None else (start, end)
