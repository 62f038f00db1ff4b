"""Confidence intervals and p-values over seeds.

The seeds of an arm are the sample: an interval describes what other seeds of the same
configuration would give, and nothing else. With few seeds intervals are wide, as they should
be: a 95 % Student interval reaches 2.5 standard deviations to either side of the mean of 3
seeds, 1.2 of 5 and 0.7 of 10.
"""

import math
import statistics
from collections.abc import Sequence

from scipy.special import bdtr, betainc, betaincinv, stdtr, stdtrit

from reinduce.judge.criteria import Threshold

TAIL_PROBABILITY = 0.025
"""What a 95 % interval leaves out at either end."""
MIN_SEEDS = 3
"""Fewer seeds decide no claim."""
MIN_SEEDS_FOR_MEDIAN = 6
"""The smallest and largest of fewer values enclose the median with a probability below 0.95."""
EQUALITY_TOLERANCE = 1e-9
"""Values whose differences are at most this share of the largest are equal, computed in another order."""


def confidence_interval(
    values: Sequence[float], statistic: str, value_range: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Compute a 95 % confidence interval of a statistic.

    Mean: Student's t, which assumes that seeds scatter normally. If all values are equal, that
    assumption fails: then, with a probability of 0.975, at least a share 0.025^(1/n) of all seeds
    has this value, and the others may be anywhere within `value_range`; without a range there is
    no interval. Median: two order statistics, by the exact binomial, without assumptions. Share:
    Clopper and Pearson's exact interval.

    Args:
        values: One value for each seed; 0 or 1 for a share.
        statistic: mean, median or share.
        value_range: The least and the largest value that a seed can have, if known.

    Returns:
        Both ends; None if these values give no interval.

    Example:
        >>> confidence_interval([1, 2, 3, 4, 5, 6], "median")
        (1, 6)
    """
    n = len(values)
    if statistic == "share":
        return _share_interval(values) if n else None
    if statistic == "median":
        # How many values are left out at each end: as many as are on one side of the median with at most this chance.
        outside = sum(bool(bdtr(k, n, 0.5) <= TAIL_PROBABILITY) for k in range(n))
        return (sorted(values)[outside - 1], sorted(values)[-outside]) if outside else None
    if n < 2:
        return None
    centre = statistics.fmean(values)
    if all_equal(values):
        if not value_range:
            return None
        least_share = TAIL_PROBABILITY ** (1 / n)
        low, high = (least_share * centre + (1 - least_share) * end for end in value_range)
        return low, high
    reach = float(stdtrit(n - 1, 1 - TAIL_PROBABILITY)) * statistics.stdev(values) / math.sqrt(n)
    return centre - reach, centre + reach


def p_value(
    values: Sequence[float],
    statistic: str,
    threshold: Threshold,
    value_range: tuple[float, float] | None = None,
) -> float:
    """Compute the probability of values at least this far beyond a threshold if the truth is at the threshold.

    Mean: one-sided t-test; if all values are equal, the probability of that in the worst case.
    Median: sign test, where a value at the threshold counts against. Share: exact binomial test.
    The result is below 0.025 exactly where the 95 % interval is beyond the threshold.

    Args:
        values: One value for each seed; they must have a confidence interval.
        statistic: mean, median or share.
        threshold: The side that is tested.
        value_range: The least and the largest value that a seed can have; needed if all values are equal.

    Returns:
        A one-sided p-value.

    Raises:
        ValueError: All values are equal and there is no range.
    """
    n = len(values)
    if statistic == "share":
        beyond = int(sum(values) if threshold.side == "above" else n - sum(values))
        chance = threshold.value if threshold.side == "above" else 1 - threshold.value
        return float(betainc(beyond, n - beyond + 1, chance)) if beyond else 1.0
    if statistic == "median":
        not_beyond = sum(not threshold.is_met_by(value) for value in values)
        return float(bdtr(not_beyond, n, 0.5))
    centre = statistics.fmean(values)
    if all_equal(values):
        if not threshold.is_met_by(centre):
            return 1.0
        if value_range is None:
            raise ValueError("equal values have a p-value only within a known value_range")
        return _largest_share_beyond(centre, threshold, value_range) ** n
    t = (centre - threshold.value) / (statistics.stdev(values) / math.sqrt(n))
    return float(stdtr(n - 1, -t if threshold.side == "above" else t))


def all_equal(values: Sequence[float]) -> bool:
    """Report whether all values are equal up to the order of summation.

    Args:
        values: At least one number.

    Returns:
        True if their differences are within EQUALITY_TOLERANCE.

    Example:
        >>> all_equal([0.1 + 0.2, 0.3])
        True
    """
    return max(values) - min(values) <= EQUALITY_TOLERANCE * max(map(abs, values))


def min_equal_seeds(value: float, threshold: Threshold, value_range: tuple[float, float]) -> int | None:
    """Compute how many seeds, all with one value, put the whole 95 % interval beyond a threshold.

    Args:
        value: The value of all seeds.
        threshold: The side on which the interval must be.
        value_range: The least and the largest value that a seed can have.

    Returns:
        The least number of seeds; None if no number suffices.

    Example:
        >>> min_equal_seeds(1, Threshold("above", 0.7), (0, 1))
        11
    """
    if not threshold.is_met_by(value):
        return None
    share = _largest_share_beyond(value, threshold, value_range)
    if share > 1 - EQUALITY_TOLERANCE:
        return None
    return max(MIN_SEEDS, math.floor(math.log(TAIL_PROBABILITY) / math.log(share)) + 1)


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


def _share_interval(values: Sequence[float]) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval for the share of ones."""
    n, ones = len(values), sum(values)
    low = float(betaincinv(ones, n - ones + 1, TAIL_PROBABILITY)) if ones else 0.0
    high = float(betaincinv(ones + 1, n - ones, 1 - TAIL_PROBABILITY)) if ones < n else 1.0
    return low, high


def _largest_share_beyond(value: float, threshold: Threshold, value_range: tuple[float, float]) -> float:
    """The largest share of seeds with a value beyond the threshold for which the mean can be at the threshold."""
    end = value_range[0] if threshold.side == "above" else value_range[1]
    return (threshold.value - end) / (value - end)
