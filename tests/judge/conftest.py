"""Planted results: the folder of a study whose arms have chosen values."""

import pytest

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec, to_json
from reinduce.trace.files import write_text
from tests.planted import plant_manifest, plant_run

STEPS = (0, 10, 20)


@pytest.fixture
def plant(tmp_path):
    """plant(arm, values) writes a trajectory metric and scores at three checkpoints for each seed; returns the root."""

    def write(arm: str, values: list[float | None], study: str = "paper"):
        model = ModelSpec(n_layers=1, d_model=8, n_heads=2, vocab_size=8, n_ctx=8)
        train = TrainSpec(steps=20, batch_size=1, learning_rate=0.1, checkpoints=CheckpointSpec(every={0: 10}))
        spec = ArmSpec(study=study, arm=arm, task="words", model=model, train=train)
        write_text(tmp_path / study / arm / "train.json", to_json(spec))
        for seed, value in enumerate(values):
            folder = tmp_path / study / arm / f"seed{seed}" / "score"
            row = {"study": study, "arm": arm, "seed": seed, "metric": "phase_change_fraction", "metric_version": 1}
            tables.write_rows("trajectories", [row | {"value": value}], folder / "trajectories.parquet")
            for step in STEPS:
                scored = row | {"step": step, "metric": "icl_score", "value": None if value is None else value * step}
                tables.write_rows("scores", [scored], folder / f"step{step:08d}.parquet")
            inputs = plant_run(tmp_path, f"{study}/{arm}", seed)
            plant_manifest("score", inputs, sorted(folder.glob("*.parquet")))
        return tmp_path

    return write


@pytest.fixture
def make_claim():
    """A resolved claim about `phase_change_fraction`; keyword arguments replace parts of it."""

    def make(**changes) -> dict:
        return {
            "id": "abrupt",
            "claim": "abrupt",
            "study": "paper",
            "scale": "smoke",
            "looks": [dict.fromkeys(("paper/two", "paper/one"), list(range(5)))],
            "claim_number": "A-01",
            "statement": "It comes abruptly.",
            "source": {"paper": "paper", "where": "Section 1"},
            "paper_value": {"text": "a quarter", "value": 0.25, "compare": "rescaled"},
            "reads": {"trajectories": ["$arm"]},
            "with": {"arm": "two"},
            "evidence": "SELECT seed, value FROM trajectories WHERE arm = $arm AND metric = 'phase_change_fraction'",
            "unit": "share of training",
            "criterion": {
                "statistic": "mean",
                "holds": {"below": 0.3},
                "fails": {"above": 0.7},
                "deviation": {"at_most": 0.05, "why": "Planted."},
                "why": "A third.",
            },
            "control": {"with": {"arm": "one"}, "why": "It cannot."},
            "figure": "phase-change",
            "family": "Section 1",
            "family_size": 1,
            "registered": {"date": "2026-11-01", "hash": "0", "known_seeds": {"paper/two": [0, 1]}},
            "scope": None,
        } | changes

    return make
