"""Tables of a small results folder as data frames."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.report import plots, read


def test_arms_with_scores_are_loaded_from_plain_to_deep(small_results):
    arms = read.load_arms(small_results, "olsson2022")
    assert list(arms.index[:6]) == ["attn1", "attn2", "attn3", "smeared1", "smeared2", "mlp2"]
    assert arms.label["smeared2"] == "2 layers, smeared keys"
    assert arms.seeds["attn2"] == [0, 1] and arms.seeds["text-attn2"] == [0]


def test_without_scores_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no arm has scores"):
        read.load_arms(tmp_path, "olsson2022")


def test_checkpoints_of_another_schedule_are_not_loaded(small_results, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(small_results / "olsson2022" / "attn1", results / "olsson2022" / "attn1")
    folder = results / "olsson2022" / "attn1" / "seed0" / "score"
    row = {"study": "olsson2022", "arm": "attn1", "seed": 0, "step": 77, "metric": "loss", "value": 99.0}
    tables.write_rows("scores", [row], folder / "step00000077.parquet")
    spec = read_spec(ArmSpec, results / "olsson2022" / "attn1" / "train.json")
    scores = read.load_scores(results, "olsson2022", read.load_arms(results, "olsson2022"))
    assert sorted(scores.step.unique()) == spec.train.checkpoints.steps(spec.train.steps)


def test_windows_leave_out_runs_without_one():
    rows = [("a", 0, "window_start", 10.0), ("a", 0, "window_end", 20.0)]
    rows += [("a", 1, "window_start", math.nan), ("a", 1, "window_end", math.nan), ("a", 1, "icl_midpoint", 3.0)]
    trajectories = pd.DataFrame(rows, columns=["arm", "seed", "metric", "value"])
    found = read.find_windows(trajectories, "window_start", "window_end")
    assert found[["seed", "start", "end"]].to_numpy().tolist() == [[0, 10.0, 20.0]]


def test_heads_are_read_at_each_runs_last_checkpoint():
    columns = ["arm", "seed", "step", "layer", "head", "metric", "value"]
    early, late = ("a", 0, 1, 0.0, 0.0, "copying", 0.1), ("a", 0, 2, 0.0, 0.0, "copying", 0.2)
    whole = ("a", 0, 2, math.nan, math.nan, "loss", 3.0)
    effect = ("a", 0, 5, 0.0, 0.0, "direct_logit", 4.0)
    heads = read.pivot_by_head(
        pd.DataFrame([early, late, whole], columns=columns), pd.DataFrame([effect], columns=columns)
    )
    assert heads.loc[("a", 0, 0, 0)].to_dict() == {"copying": 0.2, "direct_logit": 4.0}


def test_the_derivative_of_a_logarithm_is_its_factor():
    index = np.arange(1, 128)
    losses = pd.concat(
        pd.DataFrame({"step": step, "index": index, "loss": 5 - slope * np.log(index)})
        for step, slope in ((0, 0.0), (10, 0.4))
    )
    steps, edges, derivative = plots.log_derivative(losses)
    assert steps.tolist() == [0, 10] and derivative.shape == (2, len(edges) - 1)
    assert np.allclose(derivative[0], 0)
    # Bins of several indices average the logarithm and the loss alike, so the slope is exact.
    assert np.allclose(derivative[1], -0.4)
