"""What many tests share, those of studies too: small models, and models built by hand to be what a name says."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from reinduce.config.arm_contents import applicable_metrics
from reinduce.config.declare import Metric
from reinduce.config.job_specs import ModelSpec, from_dict
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.config.task_definition import read_task
from reinduce.data.command import run_data
from reinduce.metrics.inputs import EvaluationSets
from reinduce.model.transformer import Transformer
from reinduce.score.checkpoint import CheckpointScorer

torch.set_num_threads(1)

STUDIES = Path(__file__).parent / "workflow" / "studies"


def pytest_ignore_collect(collection_path):
    """Search the tests of studies only.

    A module of a study is imported as `reinduce.studies.<paper>`; a second import by its path would declare its metrics
    again, and the import of a figure would draw it. tests/test_study_examples.py runs the examples in docstrings.
    """
    if collection_path.suffix == ".py" and STUDIES in collection_path.parents:
        return "tests" not in collection_path.relative_to(STUDIES).parts or None
    return None


def pytest_collection_modifyitems(items):
    """Order the files, since workers take whole files: long ones must not begin last.

    First the file that makes the whole workflow run, then those without it, then those with a copy of its results, of
    which the one that repeats the run is the longest.
    """
    fixtures = {item.path: set() for item in items}
    for item in items:
        fixtures[item.path].update(getattr(item, "fixturenames", ()))

    def turn(item) -> int:
        names = fixtures[item.path]
        if "smoke" in names:
            return 2 if "replayed" in names else 3
        return 0 if "whole_run" in names else 1

    items.sort(key=turn)


def pytest_terminal_summary(terminalreporter):
    """Print the figures that tests noted with record_property("figure", …)."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figure" and report.when == "call":
                terminalreporter.write_line(f"figure: {value}")


@pytest.fixture
def make_model():
    """A small random model; keyword arguments replace parts of its specification."""

    def make(seed: int = 0, **changes) -> Transformer:
        spec = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 40, "n_ctx": 24} | changes
        return Transformer(from_dict(ModelSpec, spec)).init_weights(seed).eval().requires_grad_(False)

    return make


@pytest.fixture
def tokens():
    """Sequences with a start token and some repetition [6, 24]."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(1, 40, (6, 24), generator=generator)
    drawn[:, 12:] = drawn[:, :12]
    drawn[:, 0] = 0
    return drawn


EVALUATION = {"heldout_examples": 20, "repeat_length": 5, "repeats": 4}


@pytest.fixture
def prepare(tmp_path):
    """Run `reinduce data` on a task's values; returns what was made and its folder."""

    def run(task: str, spec: dict, evaluation: dict | None = None, out: str = "data"):
        path = tmp_path / f"{task}.json"
        sizes = {name: size for name, size in (EVALUATION | (evaluation or {})).items() if size is not None}
        path.write_text(json.dumps({"task": task, "spec": spec, "evaluation": sizes}))
        return run_data(argparse.Namespace(task=path, out=tmp_path / out)), tmp_path / out

    return run


@pytest.fixture
def pairs():
    """The index pairs of the laptop scale, those that claims use first."""
    return [PositionRanges(early=(8, 13), late=(112, 127))]


@dataclass(frozen=True)
class Scored:
    """The scores of a model, and all that they were made of."""

    model: Transformer
    sets: EvaluationSets
    settings: MetricSettings
    metrics: Mapping[str, Metric]
    """Those that the model has, of runs too."""
    rows: list[dict[str, Any]]
    """Rows of table `scores`, without the run's keys."""

    @property
    def of_model(self) -> dict[str, float | None]:
        """Metric of the whole model → its value."""
        return {row["metric"]: row["value"] for row in self.rows if "layer" not in row}

    @property
    def of_heads(self) -> dict[str, list[list[float | None]]]:
        """Metric of heads → its values [layers, heads]."""
        found: dict[str, list[list[float | None]]] = {}
        for row in self.rows:
            if "head" in row:
                layers = found.setdefault(row["metric"], [[] for _ in range(self.model.spec.n_layers)])
                layers[row["layer"]].append(row["value"])
        return found


@pytest.fixture
def score(make_model, prepare, pairs):
    """Score a random model on a task; keyword arguments replace parts of the model's specification."""

    def run(
        task: str,
        spec: dict | None = None,
        evaluation: dict | None = None,
        vectors: torch.Tensor | None = None,
        chosen: list[str] | None = None,
        is_end: bool = True,
        **changes,
    ) -> Scored:
        _, folder = prepare(task, {"vocab_size": 128, "n_ctx": 128} if spec is None else spec, evaluation, out=task)
        definition = read_task(folder / "task.json")
        sets = EvaluationSets(folder, definition)
        settings = MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120), metrics=chosen)
        model = make_model(**definition.model_fields() | changes)
        if vectors is not None:
            model.set_features(vectors)
        has = (model.spec.n_layers, model.spec.has_heads, definition.owner, chosen)
        metrics = applicable_metrics(definition.evaluation_sets, *has)
        scorer = CheckpointScorer({n: m for n, m in metrics.items() if m.level != "run"}, sets, settings)
        rows = list(scorer.score(model, is_end, scorer.run_passes(model, is_end)))
        return Scored(model, sets, settings, metrics, rows)

    return run
