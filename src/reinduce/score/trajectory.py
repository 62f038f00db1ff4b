"""Measures of a whole training run, from the curves of its checkpoints' scores.

A curve is a list of (step, value), ascending; between checkpoints it is read as straight.
All are defined for runs without a phase change too, so that a control can be held to the
same measure.
"""

from bisect import bisect_right

Curve = list[tuple[int, float]]

GAIN = 0.75
"""Share of the final in-context score that the window must hold (Olsson et al. 2022: over 75 %)."""
GRID = 200
"""Points at which a window's ends are tried: half a per cent of training."""


def at(curve: Curve, step: float) -> float:
    """The curve's value at a step, straight between checkpoints, constant beyond its ends."""
    steps = [s for s, _ in curve]
    i = bisect_right(steps, step)
    if i == 0:
        return curve[0][1]
    if i == len(curve):
        return curve[-1][1]
    (s0, v0), (s1, v1) = curve[i - 1], curve[i]
    return v0 + (v1 - v0) * (step - s0) / (s1 - s0)


def slope(curve: Curve, start: float, end: float) -> float:
    """Mean change per step from start to end."""
    return (at(curve, end) - at(curve, start)) / (end - start)


def window(score: Curve) -> tuple[float, float] | None:
    """The narrowest stretch of training that holds `GAIN` of the fall from first to last score.

    The in-context score falls as it grows better. None if it did not fall at all.
    """
    gain = score[0][1] - score[-1][1]
    if gain <= 0:
        return None
    last = score[-1][0]
    grid = [last * i / GRID for i in range(GRID + 1)]
    values = [at(score, step) for step in grid]
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


def crossing(curve: Curve, level: float) -> float | None:
    """The first step at which the curve reaches `level` from where it starts, or None."""
    rising = curve[0][1] < level
    for (s0, v0), (s1, v1) in zip(curve, curve[1:], strict=False):
        if (v1 >= level) if rising else (v1 <= level):
            return s0 + (s1 - s0) * (level - v0) / (v1 - v0) if v1 != v0 else float(s0)
    return None


def midpoint(curve: Curve) -> float | None:
    """The first step at which a curve has gone half of its way from first to last value."""
    return crossing(curve, (curve[0][1] + curve[-1][1]) / 2) if curve[0][1] != curve[-1][1] else None


def late_drift(score: Curve, found: tuple[float, float]) -> float | None:
    """Size of the slope after the window over that within it; None if the window ends the run."""
    start, end = found
    last = score[-1][0]
    within = slope(score, start, end)
    return abs(slope(score, end, last)) / abs(within) if end < last and within else None


def bump(loss: Curve) -> float | None:
    """The step of the loss curve's strongest downward bend: where its fall gathers speed most.

    The most negative second difference over equal steps of a twentieth of training, which
    is wider than the wiggles between checkpoints; None if the curve never bends downward.
    """
    last = loss[-1][0]
    h = last / 20
    grid = [last * i / GRID for i in range(GRID + 1)]
    bends = [(at(loss, s - h) - 2 * at(loss, s) + at(loss, s + h), s) for s in grid if h <= s <= last - h]
    strongest = min(bends)
    return strongest[1] if strongest[0] < 0 else None


def bump_size(loss: Curve) -> float:
    """How far the loss stands above the greatest convex curve below it, in nats; 0 if it is convex itself.

    A curve that falls ever more slowly is convex; a plateau before a second fall is not.
    """
    hull: Curve = []
    for step, value in loss:
        # The last corner goes if it does not lie below the line that passes it by.
        while len(hull) > 1 and hull[-1][1] >= at([hull[-2], (step, value)], hull[-1][0]):
            hull.pop()
        hull.append((step, value))
    return max(value - at(hull, step) for step, value in loss)


def measures(
    scores: dict[str, Curve], best_prefix_matching: Curve, pairs: list[str], threshold: float
) -> dict[str, float | None]:
    """All measures of a run by name; None where there is nothing to measure.

    `scores` holds the curves `icl_score`, `icl_score:<pair>` and `loss`; `best_prefix_matching`
    is empty for a model without heads.
    """
    score, last = scores["icl_score"], scores["icl_score"][-1][0]
    found = window(score)
    made: dict[str, float | None] = {
        "icl_gain": score[0][1] - score[-1][1],
        "icl_midpoint": midpoint(score),
        "prefix_midpoint": midpoint(best_prefix_matching) if best_prefix_matching else None,
        "formation_step": crossing(best_prefix_matching, threshold) if best_prefix_matching else None,
        "bump_step": bump(scores["loss"]),
        "bump_size": bump_size(scores["loss"]),
        "window_start": found[0] if found else None,
        "window_end": found[1] if found else None,
        "window_share": (found[1] - found[0]) / last if found else None,
        "late_drift": late_drift(score, found) if found else None,
    }
    return made | {f"icl_midpoint:{pair}": midpoint(scores[f"icl_score:{pair}"]) for pair in pairs}
