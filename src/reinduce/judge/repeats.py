"""How often other seeds would decide a claim as these do."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

from reinduce.judge.criteria import Criterion
from reinduce.judge.statistics import ERROR, MIN_SEEDS, capital

DRAWS = 2000
"""How many runs are drawn for an expected repeat rate."""


def repeat_rate(values: Sequence[float], criterion: Criterion, n: int) -> float | None:
    """Estimate how often further seeds would show that the claim holds, or that it fails, as these seeds do.

    Args:
        values: A value for each seed.
        criterion: The claim's.
        n: The number of further seeds.

    Returns:
        The share of runs, drawn from Student's predictive law of these seeds, in which the threshold is passed that
        these seeds pass; None if they pass none, or are fewer than three. Seeds that only just pass tend to be lucky
        ones, so the rate of claims near their threshold is too high.
    """
    if len(values) < MIN_SEEDS:
        return None
    passed = [one for one in (criterion.holds, criterion.fails) if capital(values, criterion.law, one) >= 1 / ERROR]
    if len(passed) != 1:
        return None
    generator = np.random.default_rng(0)
    degrees = len(values) - 1
    # The mean and the deviation of the law are uncertain as well; each drawn run has its own.
    deviation = statistics.stdev(values) * np.sqrt(degrees / generator.chisquare(degrees, (DRAWS, 1)))
    mean = statistics.fmean(values) + deviation / math.sqrt(len(values)) * generator.standard_normal((DRAWS, 1))
    drawn = mean + deviation * generator.standard_normal((DRAWS, n))
    if criterion.law.statistic == "share":
        drawn = (generator.random((DRAWS, n)) < (sum(values) + 0.5) / (len(values) + 1)).astype(float)
    elif criterion.law.value_range is not None:
        drawn = np.clip(drawn, *criterion.law.value_range)
    return float(np.mean(capital(drawn, criterion.law, passed[0]) >= 1 / ERROR))
