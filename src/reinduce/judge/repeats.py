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
        The share of drawn runs in which the threshold is passed that these seeds pass; None if they pass none, or are
        fewer than three. Runs are drawn from Student's predictive law of these seeds for a mean; for a median or a
        share, seeds lie beyond the threshold with a probability that is drawn from what these seeds leave open
        (Jeffreys' prior). Seeds that only just pass tend to be lucky ones, so the rate of claims near their
        threshold is too high.
    """
    if len(values) < MIN_SEEDS:
        return None
    passed = [one for one in (criterion.holds, criterion.fails) if capital(values, criterion.law, one) >= 1 / ERROR]
    if len(passed) != 1:
        return None
    generator = np.random.default_rng(0)
    law, passing = criterion.law, passed[0]
    if law.statistic == "mean":
        degrees = len(values) - 1
        # The mean and the deviation of the law are uncertain as well; each drawn run has its own.
        deviation = statistics.stdev(values) * np.sqrt(degrees / generator.chisquare(degrees, (DRAWS, 1)))
        mean = statistics.fmean(values) + deviation / math.sqrt(len(values)) * generator.standard_normal((DRAWS, 1))
        drawn = np.clip(mean + deviation * generator.standard_normal((DRAWS, n)), *law.value_range)
    else:
        beyond = sum(map(passing.is_met_by, values))
        chance = generator.beta(beyond + 0.5, len(values) - beyond + 0.5, (DRAWS, 1))
        low, high = (0, 1) if law.statistic == "share" else (passing.value - 1, passing.value + 1)
        inner, outer = (low, high) if passing.side == "above" else (high, low)
        drawn = np.where(generator.random((DRAWS, n)) < chance, outer, inner)
    return float(np.mean(capital(drawn, law, passing) >= 1 / ERROR))
