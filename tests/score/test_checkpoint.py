"""Metrics of a checkpoint, put together: what a model has is measured, and what it lacks is left out."""

import pytest
import torch

from reinduce.config.declare import Metric, Tolerance
from reinduce.score.checkpoint import CheckpointScorer
from reinduce.score.command import extend_curves, measure_run

FREE = Tolerance(reason="planted")


def test_a_model_without_heads_has_no_scores_of_heads_but_all_of_its_own(score):
    found = score("repeated_phrases", mixer="gru")
    assert found.of_heads == {}
    assert set(found.of_model) == set(score("repeated_phrases").of_model)
    curves = {name: [(0, 4.0), (10, value)] for name, value in found.of_model.items()}
    made = {row["metric"]: row["value"] for row in measure_run(found.metrics, curves, found.settings)}
    assert made["induction_onset_step"] is made["prefix_midpoint"] is None
    assert made["icl_midpoint"] is not None
    assert made["icl_midpoint:112-127/8-13"] == made["icl_midpoint"]


def test_every_metric_of_the_plan_has_rows_with_its_version_and_its_number_of_examples(score):
    found = score("repeated_phrases")
    measured = {name for name, metric in found.metrics.items() if metric.level != "run"}
    assert {row["metric"].split(":")[0] for row in found.rows} == measured
    assert {row["metric_version"] for row in found.rows} == {1}
    n = {row["metric"]: row["n_items"] for row in found.rows}
    assert (n["loss"], n["prefix_matching"], n["copying"], n["previous_token"]) == (20, 10, 10, 8)
    assert (n["prefix_matching:first_half"], n["prefix_matching:second_half"]) == (5, 5)
    assert n["ov_eigenvalues"] == 1, "weights are read once"
    assert all(len(layer) == 4 for layers in found.of_heads.values() for layer in layers)
    assert found.of_heads["qk_trace"][0] == [None] * 4 and None not in found.of_heads["qk_trace"][1]


def test_chosen_metrics_alone_are_measured_with_what_they_need(score):
    found = score("repeated_phrases", chosen=["qk_trace", "loss"])
    assert set(found.of_heads) == {"qk_trace", "previous_token"} and set(found.of_model) == {"loss"}
    whole = score("repeated_phrases")
    assert found.of_heads == {name: whole.of_heads[name] for name in found.of_heads}
    assert found.of_model["loss"] == whole.of_model["loss"]


def test_halves_of_the_examples_are_measured_apart(score):
    """The mean over two halves of one size is that over the whole."""
    found = score("repeated_phrases")
    first, second, whole = (
        torch.tensor(found.of_heads[name])
        for name in ("prefix_matching:first_half", "prefix_matching:second_half", "prefix_matching")
    )
    assert torch.allclose((first + second) / 2, whole, atol=1e-6) and not torch.equal(first, second)
    assert not any(":" in name for name in score("repeated_phrases", chosen=["copying"]).of_heads)


def test_the_curve_of_heads_is_that_of_the_best(score):
    found, curves = score("repeated_phrases"), {}
    for step in (0, 10):
        extend_curves(curves, step, found.rows)
    best = max(value for layer in found.of_heads["prefix_matching"] for value in layer)
    assert curves["prefix_matching"] == [(0, best), (10, best)]
    assert curves["loss"] == [(0, found.of_model["loss"]), (10, found.of_model["loss"])]
    # A head without a value is no head of the curve.
    assert curves["qk_trace"][0][1] == max(found.of_heads["qk_trace"][1])


@pytest.fixture
def planted(score):
    """Rows of metrics that are made up for the test, at a checkpoint that is an end or not."""

    def run(is_end=True, **metrics):
        found = score("repeated_phrases", chosen=["loss"])
        made = {
            name: Metric(name=name, compute=compute, description="", tolerance=FREE, **facts)
            for name, (compute, facts) in metrics.items()
        }
        scorer = CheckpointScorer(made, found.sets, found.settings)
        return list(scorer.score(found.model, is_end, scorer.run_passes(found.model, is_end)))

    return run


def test_a_metric_may_give_several_values_each_under_its_own_name(planted):
    rows = planted(many=(lambda inputs: {"": 1.0, "early": 2.0, "late": (None, 3)}, {"level": "model"}))
    assert [(row["metric"], row["value"], row["n_items"]) for row in rows] == [
        ("many", 1.0, 1),
        ("many:early", 2.0, 1),
        ("many:late", None, 3),
    ]


def test_a_metric_of_layers_has_a_row_for_each(planted):
    rows = planted(depth=(lambda inputs, layer: float(layer), {"level": "layer", "version": 3}))
    assert rows == [
        {"metric": "depth", "metric_version": 3, "layer": layer, "n_items": 1, "value": float(layer)}
        for layer in (0, 1)
    ]


def test_a_metric_on_several_sets_is_named_by_each(planted):
    facts = {"level": "model", "evaluation_sets": ("repeated", "random"), "sites": ("losses",)}
    rows = planted(mean=(lambda inputs: inputs.losses.mean().item(), facts))
    assert [(row["metric"], row["n_items"]) for row in rows] == [("mean:repeated", 10), ("mean:random", 10)]
    assert rows[0]["value"] != rows[1]["value"]


def test_a_metric_of_the_ends_is_not_measured_between_them(planted):
    facts = {"level": "model", "only_ends": True, "evaluation_set": "repeated", "sites": ("losses",)}
    assert planted(is_end=False, last=(lambda inputs: 1.0, facts)) == []
    assert len(planted(is_end=True, last=(lambda inputs: 1.0, facts))) == 1


def test_a_metric_sees_no_more_examples_than_it_asks_for(planted):
    def count(inputs):
        assert len(inputs.tokens) == len(inputs.losses) == 7
        assert all(len(value) == 7 for value in inputs.cache.values())
        return float(len(inputs.cache))

    facts = {"level": "model", "evaluation_set": "heldout", "sites": ("losses", "v"), "examples": 7}
    rows = planted(few=(count, facts), all=(lambda inputs: float(len(inputs.tokens)), facts | {"examples": None}))
    assert [(row["metric"], row["value"], row["n_items"]) for row in rows] == [("few", 2.0, 7), ("all", 20.0, 20)]


def test_a_metric_reads_no_site_that_it_does_not_declare_though_another_does(planted):
    def mean_value(inputs, layer):
        return inputs.cache[f"blocks.{layer}.attn.v"].mean(dim=(0, 1, 3))

    facts = {"level": "head", "evaluation_set": "heldout"}
    with pytest.raises(ValueError, match=r"'sly' reads 'blocks.0.attn.v', but its `sites` do not name 'v'; add it"):
        planted(
            plain=(mean_value, facts | {"sites": ("v",)}),
            sly=(mean_value, facts | {"sites": ("attention",)}),
        )


def test_a_metric_reads_the_values_of_those_that_it_comes_after(planted):
    rows = planted(
        first=(lambda inputs: 4.0, {"level": "model"}),
        second=(lambda inputs: inputs.values["first"] / 2, {"level": "model", "after": ("first",)}),
    )
    assert [row["value"] for row in rows] == [4.0, 2.0]
