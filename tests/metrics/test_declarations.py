"""Every declared metric says all that tables, documents and comparisons need of it."""

import pytest
import torch

from reinduce import studies
from reinduce.config.declare import Metric, qualify
from reinduce.config.find import find, find_all
from reinduce.config.job_specs import ModelSpec
from reinduce.metrics.inputs import MetricInputs
from reinduce.score.passes import names_of

STUDIES = sorted(path.parent.name for path in studies.OWN_FOLDER.glob("*/study.yaml"))
EVERYONE = ("", *STUDIES)


def declared(kind: str) -> dict:
    """Qualified name → declaration, of the library and of all studies."""
    found = {qualify(name, one.owner): one for study in EVERYONE for name, one in find_all(kind, study).items()}
    assert {one.owner for one in found.values()} <= set(EVERYONE)
    return found


METRICS = declared("metric")
of_each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def test_the_library_and_each_study_declare_metrics():
    assert {metric.owner for metric in METRICS.values()} == set(EVERYONE)
    assert len(METRICS) >= 40
    assert {"prefix_matching", "loss", "singh2024.query_loss", "review2026.context_swap"} <= set(METRICS)


@of_each_metric
def test_its_tolerance_has_a_size_and_a_reason(metric):
    assert metric.tolerance.absolute >= 0 and metric.tolerance.relative >= 0
    assert metric.tolerance.absolute + metric.tolerance.relative > 0
    assert len(metric.tolerance.reason.split()) >= 4
    assert metric.tolerance.limit(-3.0) == metric.tolerance.absolute + 3 * metric.tolerance.relative


@of_each_metric
def test_unit_null_and_description_are_filled_in(metric):
    assert metric.unit and metric.null
    assert metric.description.split("\n")[0] and metric.description.rstrip().endswith(".")
    assert metric.version >= 1
    low, high = metric.value_range
    assert low is None or high is None or low < high
    assert metric.name.replace("_", "").isalnum() and metric.name == metric.name.lower()


@of_each_metric
def test_what_it_needs_is_there(metric):
    """Its sets are those of a task, its sites those of a model, and the metrics before it are declared."""
    tasks = declared("task").values()
    assert any(set(metric.sets) <= set(task.evaluation_sets) for task in tasks if task.owner in ("", metric.owner))
    names_of(ModelSpec(n_layers=2, d_model=8, n_heads=2, vocab_size=9, n_ctx=8), metric.sites)
    assert not metric.sites or metric.evaluation_set or metric.evaluation_sets
    known = find_all("metric", metric.owner)
    assert set(metric.after) <= set(known)
    assert metric.level != "run" or metric.after
    assert not (metric.evaluation_set and metric.evaluation_sets)
    assert (metric.compute is None) == (metric.level == "effect")
    assert find("metric", qualify(metric.name, metric.owner)) is metric


WEIGHTED = {name: metric for name, metric in METRICS.items() if metric.token_weights is not None}


def test_ablations_measure_the_losses_of_the_library():
    assert set(WEIGHTED) == {"loss", "icl_score", "icl_score_copyable", "icl_score_other"}
    assert all((metric.evaluation_set, metric.sites) == ("heldout", ("losses",)) for metric in WEIGHTED.values())


@pytest.mark.parametrize("metric", WEIGHTED.values(), ids=WEIGHTED)
def test_token_weights_make_the_metric_itself(score, metric: Metric):
    """The sum of losses by their weights is the metric: what ablations measure has the same definition."""
    found = score("repeated_phrases", chosen=["loss"])
    tokens_BT = found.sets["heldout"].tokens
    losses = torch.rand(len(tokens_BT), tokens_BT.shape[1] - 1, generator=torch.Generator().manual_seed(3)) * 5
    value = metric.compute(MetricInputs(found.model, found.sets, found.settings, tokens_BT, losses))
    value = value[""] if isinstance(value, dict) else value
    weights = metric.token_weights(tokens_BT, found.settings)
    assert (weights * losses).sum().item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", ["icl_score_copyable", "icl_score_other"])
def test_a_class_without_tokens_has_neither_weights_nor_a_value(score, name):
    found = score("repeated_phrases", chosen=["loss"])
    # All tokens differ, or all are alike but the start token.
    tokens_BT = {"icl_score_copyable": torch.arange(128), "icl_score_other": (torch.arange(128) > 0).long()}[name][None]

    class Heldout:
        def derive(self, _, build):
            return build(type("Examples", (), {"tokens": tokens_BT}))

    inputs = MetricInputs(found.model, {"heldout": Heldout()}, found.settings, tokens_BT, torch.ones(1, 127))
    assert METRICS[name].token_weights(tokens_BT, found.settings) is None
    assert METRICS[name].compute(inputs) is None
