"""Training learns, resumes exactly, and never publishes half a run."""

import dataclasses
import hashlib

import pytest
import torch

from reinduce.config.specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec
from reinduce.model.checkpoint import load_checkpoint
from reinduce.train.loop import learning_rate, train


def arm(**changes) -> ArmSpec:
    model = ModelSpec(layers=1, d_model=16, heads=2, vocabulary=11, context=12, mlp_ratio=1.0, smeared_keys=True)
    spec = {"steps": 40, "batch": 8, "learning_rate": 0.02, "warmup": 5, "save_every": 10, "weight_decay": 0.1}
    return ArmSpec(
        study="s",
        arm="a",
        task="t",
        model=model,
        train=TrainSpec(**spec | changes, checkpoints=CheckpointSpec(every={0: 20, 20: 5})),
    )


def counting(step: int, n: int) -> torch.Tensor:
    """Sequences that count upward from a start which the step decides: easy to learn."""
    start = torch.randint(0, 10, (n, 1), generator=torch.Generator().manual_seed(step))
    return torch.cat((torch.zeros(n, 1, dtype=torch.int64), (start + torch.arange(11)) % 10 + 1), dim=1)


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("checkpoints/*"))}


def test_training_learns_and_leaves_the_scheduled_checkpoints(tmp_path):
    history = train(arm(), 0, counting, tmp_path)
    assert history["loss"][-1] < history["loss"][0] - 0.5
    steps = [load_checkpoint(path).step for path in sorted(tmp_path.glob("checkpoints/*"))]
    assert steps == [0, 20, 25, 30, 35, 40]
    assert not (tmp_path / "resume").exists()


@pytest.mark.parametrize("stop", [1, 9, 10, 23, 39])
def test_an_interrupted_run_ends_in_the_same_bytes(tmp_path, stop):
    whole = train(arm(), 0, counting, tmp_path / "whole")
    train(arm(), 0, counting, tmp_path / "stopped", stop_after=stop)
    assert not (tmp_path / "stopped" / "checkpoints").exists()
    resumed = train(arm(), 0, counting, tmp_path / "stopped")
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")
    assert torch.equal(resumed["loss"], whole["loss"])


def test_a_state_of_another_configuration_is_not_resumed(tmp_path):
    train(arm(learning_rate=0.01), 0, counting, tmp_path / "changed", stop_after=20)
    train(arm(), 0, counting, tmp_path / "changed")
    train(arm(), 0, counting, tmp_path / "whole")
    assert hashes(tmp_path / "changed") == hashes(tmp_path / "whole")


def test_seeds_differ(tmp_path):
    for seed in (0, 1):
        train(arm(steps=5), seed, counting, tmp_path / str(seed))
    assert hashes(tmp_path / "0") != hashes(tmp_path / "1")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_it(tmp_path):
    with pytest.raises(ValueError, match="s/a/seed0: the loss is not finite"):
        train(arm(learning_rate=1e30, warmup=0), 0, counting, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_warm_up_rises_to_the_peak_and_stays():
    spec = arm().train
    assert [learning_rate(spec, step) for step in (0, 4, 5, 39)] == pytest.approx([0.004, 0.02, 0.02, 0.02])


def test_checkpoints_are_denser_where_asked():
    schedule = CheckpointSpec(every={0: 100, 200: 25, 300: 200})
    assert schedule.steps(450) == [0, 100, 200, 225, 250, 275, 300, 450]
    assert dataclasses.replace(schedule, every={0: 1000}).steps(30) == [0, 30]
