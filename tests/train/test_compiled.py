"""Compiled losses of models with short contexts: the same training, and a fallback where compiling fails."""

import logging
import shutil

import pytest
import torch

from reinduce.config.job_specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec, from_dict
from reinduce.model.transformer import Transformer, training_losses
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, sequences
from reinduce.train import compiled
from reinduce.train.optimizer import AdamW

SPEC = FewshotSpec(classes=12, new_classes=7, features=16)
CLAMPS = [{"type": "zero_head", "layer": 1, "except_head": 0}, {"type": "force_previous_token", "layer": 0, "head": 1}]


def model(clamps=(), seed=0):
    values = {"n_layers": 2, "d_model": 32, "n_heads": 4, "vocab_size": 5, "n_ctx": 5, "d_features": 16}
    spec = from_dict(ModelSpec, values | {"positions": "rotary", "clamps": list(clamps)})
    return Transformer(spec).init_weights(seed).set_features(torch.rand(12, 16, generator=torch.Generator()))


def arm(spec: ModelSpec, **changes) -> ArmSpec:
    train = TrainSpec(steps=1, batch_size=8, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 10}), **changes)
    return ArmSpec(study="s", arm="a", task="t", model=spec, train=train)


def losses(trained: Transformer, loss_function, steps=30) -> list[float]:
    spec = TrainSpec(steps=steps, batch_size=8, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 10}))
    optim, made = AdamW(spec, trained), []
    for step in range(steps):
        loss = loss_function(trained, sequences(SPEC, "in_distribution", 8, step)).mean()
        made.append(loss.item())
        optim.step(optim.write_gradient(loss, torch.zeros(optim.size)), spec.learning_rate)
    return made


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_losses_are_the_same_and_serve_several_seeds(caplog):
    fast = compiled.compiled_losses()
    for clamps, seed in ((CLAMPS, 0), (CLAMPS, 1)):
        assert losses(model(clamps, seed), fast) == pytest.approx(
            losses(model(clamps, seed), training_losses), abs=1e-5
        )
    assert "not compiled" not in caplog.text


def test_without_a_compiler_training_continues_and_warns_once(caplog, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("No working C++ compiler found\n  and more details")

    monkeypatch.setattr(torch, "compile", fails)
    compiled.compiled_losses.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert losses(model(), compiled.compiled_losses()) == losses(model(), training_losses)
    assert [record.message for record in caplog.records] == [
        "not compiled, training takes more than twice as long (needs a C++ compiler): No working C++ compiler found"
    ]


def test_only_long_trainings_of_short_models_are_compiled():
    long_model = from_dict(ModelSpec, dict(n_layers=1, d_model=8, n_heads=1, vocab_size=9, n_ctx=64))
    five, long = arm(model().spec), arm(long_model)
    assert compiled.choose_losses(five, compiled.MIN_STEPS_TO_COMPILE - 1) is training_losses
    assert compiled.choose_losses(long, 10**6) is training_losses
    assert compiled.choose_losses(five, compiled.MIN_STEPS_TO_COMPILE) is not training_losses
    assert compiled.choose_losses(arm(long_model, compile=True), 1) is not training_losses
    assert compiled.choose_losses(arm(five.model, compile=False), 10**6) is training_losses
