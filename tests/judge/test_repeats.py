"""Expected repeat rates are those of real repeats."""

import numpy as np
import pytest

from reinduce.judge.criteria import Criterion, SeedLaw, Threshold
from reinduce.judge.repeats import repeat_rate
from reinduce.judge.statistics import ERROR, capital

ABOVE = Criterion(SeedLaw("mean", None, 0.2), Threshold("above", 0.5), Threshold("below", 0.2))


@pytest.mark.parametrize("mean", [0.9, 1.0])
def test_the_expected_repeat_rate_is_that_of_real_repeats(mean):
    """Of runs that decide, how many of their repeats do, on average over runs."""
    generator = np.random.default_rng(2)
    runs = generator.normal(mean, 0.15, (400, 5))
    decided = [run.tolist() for run in runs if capital(run, ABOVE.law, ABOVE.holds) >= 1 / ERROR]
    repeats = capital(generator.normal(mean, 0.15, (4000, 5)), ABOVE.law, ABOVE.holds) >= 1 / ERROR
    expected = np.mean([repeat_rate(run, ABOVE, 5) for run in decided[:60]])
    assert expected == pytest.approx(repeats.mean(), abs=0.15)
    assert repeat_rate([0.5, 0.5, 0.5], ABOVE, 5) is None
