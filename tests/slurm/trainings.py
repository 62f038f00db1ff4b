"""One training of the smoke scale, made as long as a test needs, and what it leaves."""

import json

SEED = "results/smoke/olsson2022/attn2/seed0/train"
TARGET = f"{SEED}/run.parquet"


def config(train: dict, **cluster) -> tuple[str, ...]:
    """One arm with one seed at smoke scale, trained as a test needs it."""
    overrides = {"olsson2022": {"attn2": {"seeds": 1, "train": train}}}
    given = {"scale": "smoke", "studies": ["olsson2022"], "overrides": overrides, "cluster": cluster}
    return ("--config", *(f"{name}={json.dumps(value)}" for name, value in given.items()))


LONG = {"steps": 6000, "save_every": 100, "checkpoints": {"every": {"0": 2000}}}
"""A training of about twenty seconds."""


def saved(project):
    """Whether a training has saved its state."""
    return (project.root / SEED / "resume/state.safetensors").exists()


def said_by_training(project) -> str:
    return "".join(log.read_text() for log in (project.root / "results/smoke/logs/train").rglob("*.log"))
