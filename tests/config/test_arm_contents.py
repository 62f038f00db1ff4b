"""What an arm has follows from its task, its model and its study: tables, metrics, ablations and their modules."""

import pytest

from reinduce.config.arm_contents import (
    ablations_of_arm,
    is_ablated,
    metrics_of_arm,
    modules_of_arm,
    unavailable_reason,
)
from reinduce.config.find import find, find_all
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec
from reinduce.config.layout import RUN_TABLES, SERIES_TABLES, TABLES
from reinduce.config.load import load
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.trace import sources

from .conftest import KEY, ROOT

SETTINGS = MetricSettings(icl_position_ranges=[PositionRanges(early=(1, 2), late=(3, 4))], loss_slope_positions=(1, 4))
LANGUAGE, FEWSHOT = "repeated_phrases", "singh2024.fewshot_classification"
COPY = {"type": "singh2024.force_copy", "layer": 1, "head": 0}
MATCH = {"type": "singh2024.force_match", "layer": 1}


def arm(task=LANGUAGE, study="olsson2022", **model) -> ArmSpec:
    fields = {"n_layers": 2, "d_model": 8, "n_heads": 2, "vocab_size": 9, "n_ctx": 5} | model
    train = TrainSpec(steps=4, batch_size=2, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 2}))
    return ArmSpec(study=study, arm="a", task=task, model=ModelSpec(**fields), train=train)


OF_LOSSES = ("index_losses", "token_losses", "loss_components", "series_trajectories")


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, {}),
        ({"clamps": [{"type": "zero_head", "layer": 0}]}, {}),
        ({"mixer": "gru"}, dict.fromkeys(("ablations", "attributions"), "has no attention heads")),
        (
            {"task": FEWSHOT, "study": "singh2024", "d_features": 4},
            dict.fromkeys(OF_LOSSES, "is trained on a task without held-out documents")
            | {"attributions": "is trained on a task without repeated sequences"},
        ),
        (
            {"task": FEWSHOT, "study": "singh2024", "d_features": 4, "clamps": [MATCH, COPY]},
            dict.fromkeys(OF_LOSSES, "is trained on a task without held-out documents")
            | {"attributions": "is trained on a task without repeated sequences"}
            | {"ablations": "gets its logits from a clamp"},
        ),
        (
            {"task": FEWSHOT, "study": "olsson2022", "d_features": 4},
            dict.fromkeys(OF_LOSSES, "is trained on a task without held-out documents")
            | {"attributions": "is trained on a task without repeated sequences"}
            | {"ablations": "is trained on a task without held-out documents, and its study declares no ablation"},
        ),
    ],
    ids=["language", "clamped", "no heads", "few-shot", "forced copy", "another study"],
)
def test_a_table_that_an_arm_does_not_have_has_a_reason(changes, reasons):
    one = arm(**changes)
    task = find("task", one.task)
    assert set(TABLES) == {*RUN_TABLES, "scores", *SERIES_TABLES}
    found = {table: unavailable_reason(table, one, task) for table in TABLES}
    assert found == dict.fromkeys(TABLES) | reasons


def test_ablations_are_those_of_the_arms_own_study():
    fewshot = find("task", FEWSHOT)
    assert list(ablations_of_arm(arm(FEWSHOT, "singh2024", d_features=4), fewshot)) == ["silence_heads"]
    assert ablations_of_arm(arm(FEWSHOT, "olsson2022", d_features=4), fewshot) == {}
    assert ablations_of_arm(arm(LANGUAGE, "singh2024"), find("task", LANGUAGE)) == {}


@pytest.fixture(scope="module")
def shipped():
    """Every run of the shipped studies at smoke scale."""
    return load({"scale": "smoke"}, ROOT).runs


def modules(run, stage) -> list[str]:
    return modules_of_arm(stage, run.arm, run.task, run.settings)


@pytest.mark.parametrize("stage", ["train", "score", "ablate", "attribute"])
def test_the_task_and_the_clamps_of_an_arm_count_at_every_stage(shipped, stage):
    for run in shipped.values():
        found = modules(run, stage)
        assert run.task.module in found and len(set(found)) == len(found)
        assert {find("intervention", clamp["type"]).module for clamp in run.arm.model.clamps} <= set(found)


def test_metrics_count_where_they_are_measured(shipped):
    for run in shipped.values():
        metrics = metrics_of_arm(run.arm, run.task, run.settings).values()
        assert {metric.module for metric in metrics} <= set(modules(run, "score"))
        assert {metric.module for metric in metrics if is_ablated(metric)} <= set(modules(run, "ablate"))
        for stage in ("train", "attribute"):
            assert not any(".metrics" in name for name in modules(run, stage))
    ablated = modules(shipped["singh2024/whole"], "ablate")
    assert "reinduce.studies.singh2024.interventions" in ablated
    assert "reinduce.studies.singh2024.interventions" not in modules(shipped["singh2024/whole"], "train")
    assert "reinduce.studies.singh2024.interventions" in modules(shipped["singh2024/match"], "train")


def followed(run, stage) -> set[str]:
    """Names of all source files that a stage's results of a run depend on."""
    found = sources.transitive_sources(f"reinduce.{stage}.command", *modules(run, stage))
    return {sources._name_of(path) for path in found}


def test_every_source_of_an_arm_is_of_the_library_or_of_its_own_study(shipped):
    for stage in ("train", "score", "ablate", "attribute"):
        for name, run in shipped.items():
            of_studies = {file.split("/")[1] for file in followed(run, stage) if file.startswith("studies/")}
            assert of_studies <= {run.arm.study, "__init__.py"}, (stage, name)


@pytest.mark.parametrize("study", ["olsson2022", "review2026", "singh2024"])
def test_an_edit_to_a_studys_metrics_touches_scores_of_that_study_alone(shipped, study):
    file = f"studies/{study}/metrics.py"
    touched = {name for name, run in shipped.items() if file in followed(run, "score")}
    assert touched and {shipped[name].arm.study for name in touched} == {study}
    own = [metric.module for metric in find_all("metric", study).values() if metric.owner == study]
    having = {
        name
        for name, run in shipped.items()
        if set(own) & {metric.module for metric in metrics_of_arm(run.arm, run.task, run.settings).values()}
    }
    assert touched == having
    for stage in ("train", "attribute"):
        assert not any(file in followed(run, stage) for run in shipped.values()), stage


METRIC = """
from reinduce.config.declare import metric
from reinduce.metrics.tolerances import NATS

@metric(level="model", unit="nats", null="0", evaluation_set="heldout", sites=("losses",), tolerance=NATS)
def spread(inputs):
    '''How far losses lie apart.'''
    return inputs.losses.std().item()
"""


def test_an_edit_changes_the_digest_of_that_studys_scores_alone(study):
    """With a real file: before and after an edit to a study's metrics."""
    folder = study(metrics=METRIC)
    task = find("task", LANGUAGE)

    def digests() -> dict[tuple[str, str], str]:
        for kept in (sources.digest, sources.transitive_sources, sources._imports):
            kept.cache_clear()
        return {
            (key, stage): sources.digest(f"reinduce.{stage}.command", *modules_of_arm(stage, one, task, SETTINGS))
            for key in (KEY, "olsson2022")
            for one in [arm(LANGUAGE, key)]
            for stage in ("train", "score", "ablate", "attribute")
        }

    before = digests()
    assert digests() == before
    (folder / "metrics.py").write_text(METRIC + "# changed\n")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {(KEY, "score")}


def test_an_arm_that_does_not_measure_a_studys_metric_does_not_depend_on_it(study):
    study(metrics=METRIC)
    task, module = find("task", LANGUAGE), f"reinduce.studies.{KEY}.metrics"
    few = MetricSettings(
        icl_position_ranges=SETTINGS.icl_position_ranges,
        loss_slope_positions=SETTINGS.loss_slope_positions,
        metrics=["loss"],
    )
    assert module in modules_of_arm("score", arm(LANGUAGE, KEY), task, SETTINGS)
    assert module not in modules_of_arm("score", arm(LANGUAGE, KEY), task, few)


def test_digests_do_not_depend_on_where_a_study_lies(study, tmp_path, monkeypatch):
    folder = study(metrics=METRIC)
    name = f"reinduce.studies.{KEY}.metrics"
    before = sources.digest(name)
    elsewhere = tmp_path / "elsewhere"
    folder.parent.rename(elsewhere)
    monkeypatch.setattr(sources.studies, "__path__", [*sources.studies.__path__[:-1], str(elsewhere)])
    for kept in (sources.digest, sources.transitive_sources, sources._imports):
        kept.cache_clear()
    assert f"studies/{KEY}/metrics.py" in {sources._name_of(path) for path in sources.transitive_sources(name)}
    assert sources.digest(name) == before
    for kept in (sources.digest, sources.transitive_sources):
        kept.cache_clear()
