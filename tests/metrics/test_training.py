"""Metrics of a training run, on curves whose answer is known."""

import math

import pytest

from reinduce.metrics import training


def sigmoid(middle: float, width: float, low: float = 0.0, high: float = -1.5, last: int = 1000):
    return [(s, low + (high - low) / (1 + math.exp(-(s - middle) / width))) for s in range(0, last + 1, 20)]


ABRUPT, GRADUAL = sigmoid(500, 15), [(s, -1.5 * s / 1000) for s in range(0, 1001, 20)]


def test_the_window_of_an_abrupt_change_is_narrow_and_where_it_is():
    start, end = training.phase_change_window(ABRUPT)
    assert start < 500 < end
    assert end - start <= 0.1 * 1000


def test_the_window_of_a_straight_fall_is_three_quarters_of_it():
    start, end = training.phase_change_window(GRADUAL)
    assert end - start == pytest.approx(750, abs=10)


def test_the_window_holds_the_gain_it_promises():
    start, end = training.phase_change_window(ABRUPT)
    gained = training.interpolate(ABRUPT, start) - training.interpolate(ABRUPT, end)
    assert gained >= 0.75 * (ABRUPT[0][1] - ABRUPT[-1][1]) - 1e-9


def test_a_score_that_never_falls_has_no_window():
    assert training.phase_change_window([(0, 0.0), (10, 0.1), (20, 0.2)]) is None


def test_midpoints_and_crossings_lie_between_checkpoints():
    assert training.midpoint(ABRUPT) == pytest.approx(500, abs=1)
    assert training.first_crossing([(0, 0.0), (100, 0.1), (200, 0.5)], 0.3) == pytest.approx(150)
    assert training.first_crossing([(0, 0.0), (100, 0.1)], 0.3) is None


def test_drift_is_small_after_an_abrupt_change_and_not_after_a_gradual_one():
    assert training.slope_ratio(ABRUPT, training.phase_change_window(ABRUPT)) < 0.05
    assert training.slope_ratio(GRADUAL, (0, 500)) == pytest.approx(1)


def test_the_bump_is_where_the_loss_turns_down():
    plateau = [(s, 4.5 - v) for s, v in sigmoid(500, 30, 0.0, 1.5)]
    early = [(s, v + math.exp(-s / 60)) for s, v in plateau]
    assert training.loss_bump(early) == pytest.approx(455, abs=50)
    assert training.loss_bump([(s, math.exp(-s / 300)) for s in range(0, 1001, 20)]) is None


def test_a_convex_curve_has_no_bump_and_a_plateau_has_its_height():
    assert training.bump_above_hull([(s, math.exp(-s / 300)) for s in range(0, 1001, 20)]) == pytest.approx(
        0, abs=1e-12
    )
    # Down to 1 at once, flat until 500, then straight down to 0: the plateau's end stands highest above the chord.
    assert training.bump_above_hull([(0, 2.0), (100, 1.0), (500, 1.0), (1000, 0.0)]) == pytest.approx(4 / 9)
