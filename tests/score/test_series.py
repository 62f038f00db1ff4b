"""Paths of runs through the principal components of their losses, on paths whose turn is known."""

import pytest

from reinduce.score import series


def turn(path, window):
    """Name of a metric → its value."""
    return {metric.name: value for metric, value in series.turn(path, window).items()}


def test_a_path_with_a_corner_turns_there():
    path = [(s, [min(s, 500) / 500, max(0, s - 500) / 500]) for s in range(0, 1001, 50)]
    found = turn(path, (500, 1000))
    assert found["pca_turn_angle"] == pytest.approx(90)
    assert found["pca_turn_step"] == 500


def test_a_straight_path_does_not_turn():
    path = [(s, [s / 1000, s / 500]) for s in range(0, 1001, 50)]
    assert turn(path, (400, 600))["pca_turn_angle"] == pytest.approx(0, abs=1e-4)
    assert turn(path, None)["pca_turn_angle"] is None
