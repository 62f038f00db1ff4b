"""Checkpoints survive the way to disk, and damaged or foreign ones are refused."""

import dataclasses

import pytest
import safetensors.torch
import torch

from reinduce.config.job_specs import ArmSpec, CheckpointSpec, TrainSpec
from reinduce.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from reinduce.model.tensors import load_tensors, save_tensors


@pytest.fixture
def arm(make_model):
    train = TrainSpec(steps=10, batch_size=2, learning_rate=0.01, checkpoints=CheckpointSpec(every={0: 5}))
    return ArmSpec(study="s", arm="a", task="phrases", model=make_model().spec, train=train)


def test_the_safetensors_library_reads_what_we_write_and_we_what_it_writes(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4), "c": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    theirs = safetensors.torch.load_file(save_tensors(tmp_path / "ours", tensors, {"k": "v"}))
    safetensors.torch.save_file(tensors, tmp_path / "theirs", {"k": "v"})
    ours, metadata = load_tensors(tmp_path / "theirs")
    assert metadata == {"k": "v"}
    for name, tensor in tensors.items():
        assert torch.equal(theirs[name], tensor)
        assert torch.equal(ours[name], tensor)


def test_a_checkpoint_comes_back_as_it_was(make_model, arm, tokens, tmp_path):
    model = make_model(seed=5)
    save_checkpoint(tmp_path / "c", Checkpoint(model, arm, seed=1, step=5, tokens=100))
    found = load_checkpoint(tmp_path / "c", arm)
    assert (found.arm, found.seed, found.step, found.tokens) == (arm, 1, 5, 100)
    assert torch.equal(found.model(tokens)[0], model(tokens)[0])


def test_a_truncated_checkpoint_is_named(make_model, arm, tmp_path):
    path = save_checkpoint(tmp_path / "c", Checkpoint(make_model(), arm, 0, 0, 0))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="c: not a complete safetensors file"):
        load_checkpoint(path)


def test_another_arms_checkpoint_is_refused(make_model, arm, tmp_path):
    path = save_checkpoint(tmp_path / "c", Checkpoint(make_model(), arm, 0, 0, 0))
    other = dataclasses.replace(arm, train=dataclasses.replace(arm.train, learning_rate=0.02))
    with pytest.raises(ValueError, match="trained with another train"):
        load_checkpoint(path, other)
