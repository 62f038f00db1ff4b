"""Paths of runs through the principal components of their losses, on paths whose turn is known."""

import argparse
import math

import pytest

from reinduce.score import series
from reinduce.tables import read_table, write_rows


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


def test_runs_keep_their_paths_when_a_later_look_adds_others(tmp_path):
    def plant(arm, seed):
        score = tmp_path / f"paper/{arm}/seed{seed}/score"
        run = {"study": "paper", "arm": arm, "seed": seed}
        losses = [
            run | {"step": step, "example": k, "index": 5, "loss": 3 - math.tanh(step / 50 - k + seed) * (k + 1)}
            for step in range(0, 201, 25)
            for k in range(3)
        ]
        write_rows("token_losses", losses, score / "token_losses.parquet")
        ends = (("window_start", 50.0), ("window_end", 100.0))
        window = [run | {"metric": name, "metric_version": 1, "value": step} for name, step in ends]
        write_rows("trajectories", window, score / "trajectories.parquet")
        return score

    def make(look, runs):
        return series.run_series(argparse.Namespace(runs=runs, look=look, out=tmp_path / "paper/series/t"))

    first = make(1, [plant("a", 0), plant("b", 0)])
    assert first.manifest == tmp_path / "paper/series/t/look1.manifest.json"
    assert {path.name for path in first.outputs} == {
        f"{arm}.seed0{ending}" for arm in "ab" for ending in (".parquet", ".trajectories.parquet")
    }
    before = {path: path.read_bytes() for path in first.outputs}
    points = read_table("loss_components", [tmp_path / "paper/series/t/a.seed0.parquet"])
    assert set(points["arm"].to_pylist()) == {"a"} and len(points) == 9 * 2
    later = make(2, [plant("a", 1)])
    assert {path.name for path in later.outputs} == {"a.seed1.parquet", "a.seed1.trajectories.parquet"}
    assert before == {path: path.read_bytes() for path in first.outputs}
