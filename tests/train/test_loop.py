"""Training learns, resumes exactly, and never publishes half a run."""

import copy
import dataclasses
import hashlib

import pytest
import torch

from reinduce.config.job_specs import ArmSpec, CheckpointSpec, GraftSpec, ModelSpec, TrainSpec
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.model.transformer import Transformer, token_losses
from reinduce.train.loop import train
from reinduce.train.optimizer import AdamW, learning_rate
from reinduce.train.preemption import Preempted, StopRequest


def arm(**changes) -> ArmSpec:
    model = ModelSpec(n_layers=1, d_model=16, n_heads=2, vocab_size=11, n_ctx=12, mlp_ratio=1.0, smeared_keys=True)
    spec = {"steps": 40, "batch_size": 8, "learning_rate": 0.02, "warmup": 5, "save_every": 10, "weight_decay": 0.1}
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


class StopAt(StopRequest):
    """A stop request after so many steps."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def __bool__(self) -> bool:
        self.steps -= 1
        return self.steps < 0


class Killed(BaseException):
    """The end of a process that had no time to save or log anything."""


def killed_at(step: int):
    def batch(now: int, n: int) -> torch.Tensor:
        if now == step:
            raise Killed
        return counting(now, n)

    return batch


@pytest.mark.parametrize("step", [0, 1, 9, 10, 23, 39])
def test_a_preempted_run_resumes_at_that_step_and_ends_in_the_same_bytes(tmp_path, step, caplog):
    whole = train(arm(), 0, counting, tmp_path / "whole")
    with pytest.raises(Preempted, match=f"saved at step {step}$"):
        train(arm(), 0, counting, tmp_path / "stopped", stop=StopAt(step))
    assert not (tmp_path / "stopped" / "checkpoints").exists()
    with caplog.at_level("INFO"):
        resumed = train(arm(), 0, counting, tmp_path / "stopped")
    assert f"resumed from step {step}" in caplog.text
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")
    assert torch.equal(resumed["loss"], whole["loss"])


@pytest.mark.parametrize("step", [1, 9, 10, 23, 39])
def test_a_killed_run_resumes_from_its_last_saved_state(tmp_path, step, caplog):
    whole = train(arm(), 0, counting, tmp_path / "whole")
    with pytest.raises(Killed):
        train(arm(), 0, killed_at(step), tmp_path / "killed")
    with caplog.at_level("INFO"):
        resumed = train(arm(), 0, counting, tmp_path / "killed")
    assert (f"resumed from step {step // 10 * 10}" in caplog.text) == (step >= 10)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    assert torch.equal(resumed["loss"], whole["loss"])


def test_a_finished_run_whose_checkpoints_were_removed_publishes_them_again(tmp_path, caplog):
    """Snakemake deletes the outputs of a job that fails later on; the next run must not train again."""
    train(arm(), 0, counting, tmp_path)
    before = hashes(tmp_path)
    for path in tmp_path.glob("checkpoints/*"):
        path.unlink()
    train(arm(), 0, killed_at(1), tmp_path)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("before", [{"learning_rate": 0.01}, {"fingerprint": "other data"}])
def test_a_state_with_another_fingerprint_is_not_resumed(tmp_path, before, caplog):
    changed, fingerprint = {k: v for k, v in before.items() if k != "fingerprint"}, before.get("fingerprint", "")
    with pytest.raises(Preempted):
        train(arm(**changed), 0, counting, tmp_path / "changed", stop=StopAt(20), fingerprint=fingerprint)
    train(arm(), 0, counting, tmp_path / "changed")
    assert "training starts anew" in caplog.text
    train(arm(), 0, counting, tmp_path / "whole")
    assert hashes(tmp_path / "changed") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("omit", ["none", "copyable"])
def test_a_batch_in_parts_is_the_same_but_for_rounding(tmp_path, omit):
    whole, parts = (train(arm(loss_mask=omit, grad_accum_steps=n), 0, counting, tmp_path / str(n)) for n in (1, 4))
    torch.testing.assert_close(parts["loss"], whole["loss"], atol=2e-4, rtol=0)
    torch.testing.assert_close(parts["loss"][:3], whole["loss"][:3], atol=1e-6, rtol=0)


def test_lower_precision_is_another_training_that_learns_as_much(tmp_path):
    plain, lower = (train(arm(precision=name), 0, counting, tmp_path / name) for name in ("float32", "bf16"))
    assert not torch.equal(plain["loss"], lower["loss"])
    torch.testing.assert_close(lower["loss"][0], plain["loss"][0], atol=0.02, rtol=0)
    assert lower["loss"][-1] < lower["loss"][0] - 0.5


def test_the_optimizer_as_many_operations_is_the_same_but_for_rounding(tmp_path):
    fused, plain = (train(arm(fused=value), 0, counting, tmp_path / str(value)) for value in (True, False))
    torch.testing.assert_close(plain["loss"], fused["loss"], atol=1e-4, rtol=0)


def test_seeds_differ(tmp_path):
    for seed in (0, 1):
        train(arm(steps=5), seed, counting, tmp_path / str(seed))
    assert hashes(tmp_path / "0") != hashes(tmp_path / "1")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_it(tmp_path):
    with pytest.raises(ValueError, match="s/a/seed0: the loss is not finite"):
        train(arm(learning_rate=1e30, warmup=0), 0, counting, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_steps_are_those_of_torchs_own_optimizer():
    """All weights in one vector, clipped and decayed: the same as a list of them under torch.optim."""
    spec, model = arm(grad_clip_norm=0.5).train, Transformer(arm().model).init_weights(3)
    plain = copy.deepcopy(model)
    groups = [[p for p in plain.parameters() if (p.ndim >= 2) == matrices] for matrices in (True, False)]
    theirs = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": spec.weight_decay}, {"params": groups[1], "weight_decay": 0.0}],
        lr=0.01,
        betas=spec.betas,
    )
    ours = AdamW(spec, model)
    for step in range(10):
        tokens = counting(step, 8)
        theirs.zero_grad()
        token_losses(plain(tokens)[0], tokens).mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), spec.grad_clip_norm)
        theirs.step()
        gradient = ours.write_gradient(token_losses(model(tokens)[0], tokens).mean(), torch.zeros(ours.size))
        assert ours.step(gradient, 0.01).item() == pytest.approx(norm.item())
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5)


def test_grafted_layers_are_copied_and_frozen(tmp_path):
    """Embeddings and layers up to the one named equal the source's at every checkpoint; the rest is trained."""
    deep = dataclasses.replace(arm().model, n_layers=2)
    source = dataclasses.replace(arm(steps=20), model=deep, arm="source")
    train(source, 1, counting, tmp_path / "source")
    given = checkpoint_path(tmp_path / "source" / "checkpoints", 20)
    grafted = dataclasses.replace(arm(steps=20), model=deep, graft=GraftSpec(arm="source", layer=0))
    train(grafted, 0, counting, tmp_path / "grafted", source_checkpoint=given)
    theirs = dict(load_checkpoint(given).model.named_parameters())
    for step in (0, 20):
        found = load_checkpoint(checkpoint_path(tmp_path / "grafted" / "checkpoints", step)).model.named_parameters()
        same = {name for name, value in found if torch.equal(value, theirs[name])}
        frozen = {name for name in theirs if name.startswith(("W_E", "blocks.0."))}
        assert frozen <= same
        assert "W_U" not in same and "blocks.1.attn.W_QKV" not in same
    begun, ended = (
        dict(load_checkpoint(checkpoint_path(tmp_path / "grafted" / "checkpoints", s)).model.named_parameters())
        for s in (0, 20)
    )
    assert not torch.equal(begun["blocks.1.attn.W_QKV"], ended["blocks.1.attn.W_QKV"])


def test_arms_may_start_alike(tmp_path):
    for name, start in (("a", None), ("b", "a"), ("c", None)):
        spec = dataclasses.replace(arm(steps=1), arm=name, init_from_arm=start)
        train(spec, 0, counting, tmp_path / name)
    first = [load_checkpoint(checkpoint_path(tmp_path / n / "checkpoints", 0)).model.W_U for n in "abc"]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_warm_up_rises_to_the_peak_and_stays():
    spec = arm().train
    assert [learning_rate(spec, step) for step in (0, 4, 5, 39)] == pytest.approx([0.004, 0.02, 0.02, 0.02])


def test_checkpoints_are_denser_where_asked():
    schedule = CheckpointSpec(every={0: 100, 200: 25, 300: 200})
    assert schedule.steps(450) == [0, 100, 200, 225, 250, 275, 300, 450]
    assert dataclasses.replace(schedule, every={0: 1000}).steps(30) == [0, 30]
