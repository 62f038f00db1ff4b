"""Compiled losses of short models: the same training, and a way on where nothing can be compiled."""

import logging
import shutil

import pytest
import torch
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, sequences

from reinduce.config.specs import ArmSpec, CheckpointSpec, ModelSpec, TrainSpec, from_dict
from reinduce.model.transformer import Transformer, sequence_losses
from reinduce.train import short
from reinduce.train.loop import AdamW

SPEC = FewshotSpec(classes=12, new_classes=7, features=16)
CLAMPS = [{"type": "zero_head", "layer": 1, "except_head": 0}, {"type": "force_previous_token", "layer": 0, "head": 1}]


def model(clamps=(), seed=0):
    values = {"layers": 2, "d_model": 32, "heads": 4, "vocabulary": 5, "context": 5, "features": 16}
    spec = from_dict(ModelSpec, values | {"positions": "rotary", "clamps": list(clamps)})
    return Transformer(spec).initialise(seed).give_features(torch.rand(12, 16, generator=torch.Generator()))


def arm(spec: ModelSpec, **changes) -> ArmSpec:
    train = TrainSpec(steps=1, batch=8, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 10}), **changes)
    return ArmSpec(study="s", arm="a", task="t", model=spec, train=train)


def losses(trained: Transformer, losses_of, steps=30) -> list[float]:
    spec = TrainSpec(steps=steps, batch=8, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 10}))
    optim, made = AdamW(spec, trained), []
    for step in range(steps):
        loss = losses_of(trained, sequences(SPEC, "in_distribution", 8, step)).mean()
        made.append(loss.item())
        optim.step(optim.gradient_of(loss, torch.zeros(optim.size)), spec.learning_rate)
    return made


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_losses_are_the_same_and_serve_several_seeds(caplog):
    compiled = short.compiled()
    for clamps, seed in ((CLAMPS, 0), (CLAMPS, 1)):
        assert losses(model(clamps, seed), compiled) == pytest.approx(
            losses(model(clamps, seed), sequence_losses), abs=1e-5
        )
    assert "not compiled" not in caplog.text


def test_without_a_compiler_training_goes_on_and_says_so_once(caplog, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("No working C++ compiler found\n  and what else it tried")

    monkeypatch.setattr(torch, "compile", fails)
    short.compiled.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert losses(model(), short.compiled()) == losses(model(), sequence_losses)
    assert [record.message for record in caplog.records] == [
        "not compiled, training takes more than twice as long (needs a C++ compiler): No working C++ compiler found"
    ]


def test_only_long_trainings_of_short_models_are_compiled():
    long_model = from_dict(ModelSpec, dict(layers=1, d_model=8, heads=1, vocabulary=9, context=64))
    five, long = arm(model().spec), arm(long_model)
    assert short.losses_for(five, short.PAYS - 1) is sequence_losses
    assert short.losses_for(long, 10**6) is sequence_losses
    assert short.losses_for(five, short.PAYS) is not sequence_losses
    assert short.losses_for(arm(long_model, compile=True), 1) is not sequence_losses
    assert short.losses_for(arm(five.model, compile=False), 10**6) is sequence_losses
