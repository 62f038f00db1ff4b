"""What seeds say about a statistic of all seeds: evidence by betting.

A gambler who doubts a hypothesis bets on one seed after another, under rules by which nobody gains on average while the
hypothesis is true. Her capital starts at 1. By Ville's inequality the probability that it ever reaches 40 under a true
hypothesis is at most 1/40 = 2.5 %, at whatever number of seeds one stops to look. The largest capital so far is
therefore evidence against the hypothesis that needs no correction for looks, and its inverse is a p-value.

The rules of the bets need a law of the seeds that the criterion states (`SeedLaw`); the docstrings of the `_bet`
functions below prove for each that the expected factor by which a bet changes the capital is at most 1. Every factor
grows with the seed's distance beyond the hypothesis, so a seed that moves further beyond never weakens the evidence,
and a further seed never does, as the largest capital is kept. Nobody knows beforehand which stake is best, so the
capital is divided among several.

Sources: Ville (1939); Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024). The
bets on a mean under a bound on the standard deviation are related to Catoni's (2012).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from reinduce.judge.criteria import EQUALITY_TOLERANCE, SeedLaw, Threshold

ERROR = 0.025
"""The largest probability of a false decision to either side, over all looks at a claim."""
MIN_SEEDS = 3
"""Fewer seeds decide no claim, however far they lie from a threshold."""

# Stakes, and the share of the capital that each gets. A stake of 1 on limited gains risks all of it. With these, a
# median is decided by 6 seeds of 6, 11 of 12 and 14 of 16; a mean with a known deviation by 3 seeds that lie 1.9
# deviations beyond the threshold, 5 at 1.3, 8 at 1.0, 12 at 0.8 and 20 at 0.7.
_LIMITED = ((1.0, 0.5), (0.8, 0.25), (0.6, 0.25))
_IN_DEVIATIONS = ((1.5, 0.7), (0.6, 0.3))

_BISECTIONS = 60
"""Halvings of the distance in which an interval's end lies; then it is known to the last digits."""


def capital(values: np.ndarray | Sequence[float], law: SeedLaw, threshold: Threshold) -> np.ndarray:
    """Compute the largest capital of a gambler who doubts that a statistic is not beyond a threshold.

    Args:
        values: One value for each seed, in the order of seeds [..., seeds].
        law: The statistic, and what is known of the values.
        threshold: The hypothesis is that the statistic over all seeds is not on this side.

    Returns:
        The largest capital after any number of seeds, at least 1 [...].

    Example:
        >>> float(capital([1, 1, 1, 1, 1, 1], SeedLaw("median"), Threshold("above", 0.5))) >= 1 / ERROR
        True
    """
    return _grow(_bets(np.asarray(values, dtype=np.float64), law, threshold))


def p_value(values: Sequence[float], law: SeedLaw, threshold: Threshold) -> float:
    """Compute a p-value against the hypothesis that a statistic is not beyond a threshold.

    Args:
        values: One value for each seed, in the order of seeds.
        law: The statistic, and what is known of the values.
        threshold: The side that is tested.

    Returns:
        The inverse of the largest capital. Under the hypothesis, the probability that it is ever as low as p is at
        most p, whatever the number of looks.
    """
    return float(1 / capital(values, law, threshold)) if len(values) else 1.0


def is_beyond(values: Sequence[float], law: SeedLaw, threshold: Threshold) -> bool:
    """Report whether seeds show that a statistic is beyond a threshold, with an error of at most 2.5 %.

    Args:
        values: One value for each seed, in the order of seeds.
        law: The statistic, and what is known of the values.
        threshold: The side that is tested.

    Returns:
        True if there are at least 3 seeds and the capital has reached 40.
    """
    return len(values) >= MIN_SEEDS and bool(capital(values, law, threshold) >= 1 / ERROR)


def confidence_interval(values: Sequence[float], law: SeedLaw) -> tuple[float, float] | None:
    """Compute the interval outside of which seeds exclude a statistic.

    Args:
        values: One value for each seed, in the order of seeds.
        law: The statistic, and what is known of the values.

    Returns:
        Both ends, within the value range. The interval covers the statistic at all numbers of seeds together with a
        probability of at least 95 %. None if either end is open, or if the seeds exclude every number.

    Example:
        >>> confidence_interval([1, 2, 3, 4, 5, 6], SeedLaw("median"))
        (1.0, 6.0)
    """
    low, high = (_interval_end(values, law, side) for side in ("above", "below"))
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low <= high else None


def min_seeds(law: SeedLaw, threshold: Threshold, most: int = 1000) -> int | None:
    """Compute how many seeds a decision needs at least.

    Args:
        law: The statistic, and what is known of the values.
        threshold: The side that is tested.
        most: The largest number that is tried.

    Returns:
        The number of seeds that decide if all lie as far beyond the threshold as they can; None if none does.

    Example:
        >>> min_seeds(SeedLaw("share", (0, 1)), Threshold("above", 0.7))
        12
    """
    furthest = _furthest(law, threshold)
    return next((n for n in range(MIN_SEEDS, most + 1) if is_beyond([furthest] * n, law, threshold)), None)


def least_p_value(law: SeedLaw, threshold: Threshold, n: int) -> float:
    """Compute the least p-value that some seeds can have.

    Args:
        law: The statistic, and what is known of the values.
        threshold: The side that is tested.
        n: The number of seeds.

    Returns:
        The p-value if all lie as far beyond the threshold as they can.
    """
    return p_value([_furthest(law, threshold)] * n, law, threshold)


def holm_correction(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number by Holm's method, which bounds the family-wise error.

    Args:
        p_values: One for each claim; None counts as 1.

    Returns:
        Corrected p-values in the same order; None where there was none.

    Example:
        >>> holm_correction([0.25, None, 0.125])
        [0.5, None, 0.375]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected


def _furthest(law: SeedLaw, threshold: Threshold) -> float:
    """The value furthest beyond a threshold; where there is no limit, one far beyond."""
    reach = 1e9 * (law.deviation or 1)
    return float(np.clip(threshold.value + (reach if threshold.side == "above" else -reach), *law.value_range))


def _bets(values: np.ndarray, law: SeedLaw, threshold: Threshold) -> list[tuple[float, np.ndarray]]:
    """Shares of the capital, and the factors by which each seed changes them [..., seeds]."""
    gains = values - threshold.value if threshold.side == "above" else threshold.value - values
    gains = np.where(np.abs(gains) <= threshold.slack, 0.0, gains)
    if law.statistic == "median":
        return _bet_on_limited(np.where(gains > 0, 1.0, -1.0))
    if law.deviation is not None:
        return _bet_on_deviations(gains / law.deviation)
    least, largest = law.value_range
    room = threshold.value - least if threshold.side == "above" else largest - threshold.value
    return _bet_on_limited(np.maximum(gains / room, -1.0))


def _bet_on_limited(gains: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Bets on gains that are at least -1, with a mean of at most 0 under the hypothesis.

    1 + stake · gain is at least 0, and at most 1 on average. Gains are signs for a median, where at most half of the
    seeds lie beyond; for a mean, distances as a share of the largest possible loss.
    """
    return [(share, 1 + stake * gains) for stake, share in _LIMITED]


def _bet_on_deviations(gains: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Bets on gains with a mean of at most 0 and a standard deviation of at most 1.

    With y = stake · gain, f(y) = 1 + y + y²/2 from y = -1 on and f(y) = 1/2 below is positive and never falls. For a
    mean of 0, E f(y) ≤ 1 + E y + E y²/2 ≤ 1 + stake²/2; a lower mean is the same law moved down, under which f is
    never larger. So f(y) / (1 + stake²/2) is at most 1 on average, whatever the form of the law.
    """
    bets = []
    for stake, share in _IN_DEVIATIONS:
        # From 1e100 on, decisions have long been made, and squares would overflow.
        y = np.clip(stake * gains, -1.0, 1e100)
        bets.append((share, (1 + y + y**2 / 2) / (1 + stake**2 / 2)))
    return bets


def _grow(bets: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    """The largest capital over seeds [...]."""
    with np.errstate(divide="ignore"):
        grown = [np.cumsum(np.log(factors), axis=-1) + math.log(share) for share, factors in bets]
    total = np.logaddexp.reduce(grown, axis=0)
    return np.asarray(np.exp(np.minimum(np.max(total, axis=-1, initial=0.0), 700.0)))


def _interval_end(values: Sequence[float], law: SeedLaw, side: str) -> float:
    """The furthest number that the statistic is shown to be above (below); an end of the range or infinity if none."""
    up = side == "above"
    outermost = law.value_range[not up]
    if not len(values):
        return outermost

    def excluded(number: float) -> bool:
        return bool(capital(values, law, Threshold(side, number)) >= 1 / ERROR)

    if law.statistic == "median":
        # The median is shown to be at least a value if it is shown to be above every number just below it.
        at_least = {v: np.asarray(values) >= v if up else np.asarray(values) <= v for v in values}
        shown = [v for v, agree in at_least.items() if _grow(_bet_on_limited(agree * 2.0 - 1)) >= 1 / ERROR]
        return float(max(shown) if up else min(shown)) if shown else outermost
    inner = float(max(values) if up else min(values))
    if abs(inner - outermost) <= EQUALITY_TOLERANCE * law.extent:
        return outermost
    outer = outermost if math.isfinite(outermost) else _first_excluded(inner, law, excluded, up)
    if not excluded(outer + (inner - outer) * EQUALITY_TOLERANCE):
        return outermost
    for _ in range(_BISECTIONS):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if excluded(middle) else (outer, middle)
    return outer


def _first_excluded(start: float, law: SeedLaw, excluded: Callable[[float], bool], up: bool) -> float:
    """A number that is excluded, found by doubling the distance from the values."""
    reach = float(law.deviation or 1.0)
    while not excluded(start - reach if up else start + reach):
        reach *= 2
    return start - reach if up else start + reach
