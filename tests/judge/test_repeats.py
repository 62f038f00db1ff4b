"""Expected repeat rates are those of real repeats."""

import numpy as np
import pytest

from reinduce.judge.criteria import Criterion, SeedLaw, Threshold
from reinduce.judge.repeats import repeat_rate
from reinduce.judge.statistics import ERROR, capital

ABOVE, BELOW = Threshold("above", 0.5), Threshold("below", 0.2)
MEAN = Criterion(SeedLaw("mean", deviation=0.2), ABOVE, BELOW)
MEDIAN = Criterion(SeedLaw("median"), ABOVE, BELOW)
SHARE = Criterion(SeedLaw("share", (0, 1)), ABOVE, BELOW)


@pytest.mark.parametrize(
    ("criterion", "n", "typical"),
    [(MEAN, 5, 0.7), (MEAN, 5, 0.8), (MEAN, 12, 0.6), (MEDIAN, 12, 0.7), (SHARE, 12, 0.9)],
)
def test_the_expected_repeat_rate_is_that_of_real_repeats(criterion, n, typical):
    """On average over runs, whether they decide or not, if all typical values are as likely as each other."""
    generator = np.random.default_rng(2)

    def draw(runs, where):
        if criterion is SHARE:
            return (generator.random((runs, n)) < where).astype(float)
        return generator.normal(where, 0.15, (runs, n))

    def decides(runs):
        return capital(runs, criterion.law, ABOVE) >= 1 / ERROR

    # Given a run near this one, which laws may it be of? Those are drawn, and a repeat of each.
    runs = [draw(1, where)[0] for where in generator.uniform(typical - 0.2, min(1, typical + 0.2), 300)]
    chosen = [run for run in runs if decides(run)]
    expected = np.mean([repeat_rate(run.tolist(), criterion, n) for run in chosen])
    wheres = generator.uniform(typical - 0.2, min(1, typical + 0.2), 4000)
    first, second = (np.array([decides(draw(1, where)[0]) for where in wheres]) for _ in range(2))
    assert expected == pytest.approx(second[first].mean(), abs=0.12)


def test_seeds_that_all_agree_leave_open_what_others_do():
    """Six signs of six: the chance of a further one is drawn from Beta(6.5, 0.5), and all six must be there."""
    generator = np.random.default_rng(0)
    six = (generator.beta(6.5, 0.5, 100_000) ** 6).mean()
    for criterion, values in ((MEDIAN, [0.9] * 6), (SHARE, [1.0] * 6)):
        assert repeat_rate(values, criterion, 6) == pytest.approx(six, abs=0.03)
    assert repeat_rate([0.1] * 6, MEDIAN, 6) == pytest.approx(six, abs=0.03)


def test_seeds_that_pass_no_threshold_have_no_rate():
    assert repeat_rate([0.5, 0.5, 0.5], MEAN, 5) is None
    assert repeat_rate([0.9, 0.9], MEAN, 5) is None
