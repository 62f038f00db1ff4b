"""One training of the smoke scale, as long as a test needs, and the files that it writes."""

import json

SEED = "results/smoke/olsson2022/attn2/seed0/train"
TARGET = f"{SEED}/run.parquet"


def training_options(train: dict, **cluster) -> tuple[str, ...]:
    """Return command-line options for one arm with one seed at smoke scale and its training settings."""
    overrides = {"olsson2022": {"attn2": {"seeds": 1, "train": train}}}
    given = {"scale": "smoke", "studies": ["olsson2022"], "overrides": overrides, "cluster": cluster}
    return ("--config", *(f"{name}={json.dumps(value)}" for name, value in given.items()))


LONG = {"steps": 6000, "save_every": 100, "checkpoints": {"every": {"0": 2000}}}
"""Settings of a training of about twenty seconds."""


def has_saved_state(project) -> bool:
    """Return whether the training has saved its state."""
    return (project.root / SEED / "resume/state.safetensors").exists()


def read_training_logs(project) -> str:
    """Return the logs of all trainings."""
    return "".join(log.read_text() for log in (project.root / "results/smoke/logs/train").rglob("*.log"))
