"""A small arm and its task's data on disk, and its training as a process of its own."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec, to_json
from reinduce.train import compiled


@pytest.fixture(autouse=True)
def clear_compiled_losses():
    """Tests do not share compiled losses."""
    yield
    compiled.compiled_losses.cache_clear()


@dataclasses.dataclass
class Training:
    """`reinduce train` of one seed, in a process."""

    arm: Path
    data: Path

    def command(self, out: Path, *options: str) -> list[str]:
        start = [sys.executable, "-m", "reinduce", "train", *options, str(self.arm), "--seed", "0"]
        return [*start, "--data", str(self.data), "--out", str(out)]

    def start(self, out: Path, *options: str, **environment: str) -> subprocess.Popen:
        """Start it in a process group of its own, so that it can be ended with all its children."""
        return subprocess.Popen(
            self.command(out, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )

    def run(self, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
        process = self.start(out, *options, **environment)
        output, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.fixture
def training(prepare, tmp_path):
    """A training of some seconds, with two parts a batch; keyword arguments replace its settings."""

    def make(**changes) -> Training:
        _, data = prepare("repeated_phrases", {"vocab_size": 40, "n_ctx": 32})
        model = ModelSpec(n_layers=2, d_model=32, n_heads=4, vocab_size=40, n_ctx=32)
        spec = {
            "steps": 300,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "save_every": 20,
            "grad_accum_steps": 2,
        } | changes
        train = TrainSpec(**spec, checkpoints=CheckpointSpec(every={0: 30}))
        arm = tmp_path / "train.json"
        arm.write_text(to_json(ArmSpec(study="s", arm="a", task="repeated_phrases", model=model, train=train)))
        return Training(arm, data)

    return make


def contents(out: Path) -> dict[str, str]:
    """SHA-256 of every result of a training, without the manifest, which is volatile."""
    found = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if name != "manifest.json" and not name.endswith(".partial")
    }


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())
