"""Prediction intervals cover what they state."""

import numpy as np
import pytest

from reinduce.replay.replication import compare_seeds, predict


@pytest.mark.parametrize(("n", "further"), [(3, 3), (5, 5), (3, 8), (5, 13), (20, 20)])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_prediction_interval_covers_new_estimates(statistic, n, further):
    generator = np.random.default_rng(n)
    covered = [
        compare_seeds(
            generator.normal(0, 1, further).tolist(), generator.normal(0, 1, n).tolist(), statistic
        ).is_predicted
        for _ in range(2000)
    ]
    assert 0.935 < np.mean(covered) < 0.985


def test_the_confidence_interval_would_cover_too_few():
    """Of the mean of five seeds by five others: 88 in 100."""
    generator = np.random.default_rng(0)
    one, other = generator.normal(0, 1, (2, 20_000, 5))
    reach = 2.776 * one.std(1, ddof=1) / 5**0.5
    assert np.mean(abs(one.mean(1) - other.mean(1)) < reach) == pytest.approx(0.88, abs=0.01)


@pytest.mark.parametrize("chance", [0.05, 0.5, 0.9, 1])
def test_a_share_predicts_that_of_further_seeds(chance):
    generator = np.random.default_rng(3)
    runs = generator.binomial(1, chance, (1000, 12 + 30)).astype(float)
    covered = [compare_seeds(run[12:].tolist(), run[:12].tolist(), "share").is_predicted for run in runs]
    assert np.mean(covered) > 0.93
    low, high = predict([1.0] * 12, 30, "share")
    assert low < 29 / 30 < high == 1


def test_equal_seeds_predict_nothing_of_a_mean():
    assert predict([1.0, 1.0, 1.0], 5, "mean") is None
    assert compare_seeds([0.1 + 0.2] * 3, [0.3] * 3, "median").is_predicted is None
    few = compare_seeds([1.0, 2.0], [1.0], "mean")
    assert (few.is_predicted, few.pooled) == (None, pytest.approx(4 / 3))
    assert compare_seeds([], [], "mean").pooled is None


def test_runs_that_differ_are_told_from_runs_that_do_not():
    generator = np.random.default_rng(1)
    same, moved = generator.normal(0, 1, (2, 20))
    assert compare_seeds(same.tolist(), generator.normal(0, 1, 20).tolist(), "mean").heterogeneity > 0.05
    # Welch's test has its level at few seeds too.
    few = generator.normal(0, 1, (4000, 6))
    small = [compare_seeds(row[:3].tolist(), row[3:].tolist(), "mean").heterogeneity < 0.05 for row in few]
    assert np.mean(small) < 0.06
    apart = compare_seeds((moved + 3).tolist(), same.tolist(), "mean")
    assert apart.heterogeneity < 1e-6 and not apart.is_predicted
