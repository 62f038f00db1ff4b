"""What a run on other seeds says of a claim beside its verdict: does its estimate come out again?

The seeds of both runs are samples of one law if the claim replicates. A confidence interval of one run is too narrow
for that question: it covers the mean of five further seeds 88 times in 100. A prediction interval allows for both
samples.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit
from scipy.stats import betabinom, ttest_ind

MEDIAN_FACTOR = math.sqrt(math.pi / 2)
"""How much wider the median of normal seeds scatters than their mean."""


@dataclass(frozen=True)
class Replication:
    """A claim's estimates in two runs with different seeds."""

    prediction_low: float | None
    """Lower end of the 95 % prediction interval of the reference for the candidate's estimate; None if the reference's
    seeds are too few, or all agree and are not yes or no."""
    prediction_high: float | None
    """Upper end of that interval."""
    is_predicted: bool | None
    """Whether the candidate's estimate lies within it."""
    pooled: float | None
    """The mean or median of the seeds of both runs."""
    heterogeneity: float | None
    """p-value of a difference between the two runs' means, by Welch's test; small where runs differ."""


def compare_seeds(candidate: Sequence[float], reference: Sequence[float], statistic: str) -> Replication:
    """Compare a claim's values in two runs.

    Args:
        candidate: A value for each seed of the run that is checked.
        reference: A value for each seed of the other run.
        statistic: mean, median or share.

    Returns:
        The comparison.
    """
    summary = statistics.median if statistic == "median" else statistics.fmean
    pooled = float(summary([*candidate, *reference])) if candidate or reference else None
    interval = predict(reference, len(candidate), statistic) if candidate else None
    if interval is None:
        return Replication(None, None, None, pooled, None)
    low, high = interval
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    is_predicted = low - slack <= summary(candidate) <= high + slack
    return Replication(low, high, bool(is_predicted), pooled, _heterogeneity(candidate, reference))


def predict(values: Sequence[float], n: int, statistic: str) -> tuple[float, float] | None:
    """Predict the estimate of further seeds.

    Args:
        values: A value for each seed.
        n: The number of further seeds.
        statistic: mean, median or share.

    Returns:
        An interval that covers the estimate of n further seeds with 95 %: of a share with at least so much, by the
        beta-binomial law of the further seeds after these (Jeffreys' prior); of a mean or median if seeds scatter
        normally. None for fewer than two values, and for means and medians of seeds that all agree.

    Example:
        >>> low, high = predict([1.0, 2.0, 3.0], 3, "mean")
        >>> round(low, 2), round(high, 2)
        (-1.51, 5.51)
    """
    if len(values) < 2:
        return None
    if statistic == "share":
        ones = sum(values)
        low, high = betabinom.ppf([0.025, 0.975], n, ones + 0.5, len(values) - ones + 0.5) / n
        return float(low), float(high)
    spread = statistics.stdev(values)
    if not spread:
        return None
    centre = statistics.median(values) if statistic == "median" else statistics.fmean(values)
    reach = float(stdtrit(len(values) - 1, 0.975)) * spread * math.sqrt(1 / len(values) + 1 / n)
    reach *= MEDIAN_FACTOR if statistic == "median" else 1
    return centre - reach, centre + reach


def _heterogeneity(one: Sequence[float], other: Sequence[float]) -> float | None:
    """p-value of Welch's test for the means of two runs; None where a run has no spread."""
    if min(len(one), len(other)) < 2 or not (statistics.stdev(one) and statistics.stdev(other)):
        return None
    return float(ttest_ind(one, other, equal_var=False).pvalue)
