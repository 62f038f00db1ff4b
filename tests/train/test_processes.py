"""Several processes share a batch or deal out seeds, and write the same bytes as one process."""

import os
import shutil
import signal
import time

import pytest

from reinduce.train import processes
from reinduce.train.preemption import EXIT_STATUS, StopRequest, handle_signals, seconds_left

from .conftest import contents, manifest


def test_two_processes_give_the_same_bytes_as_one(training, tmp_path):
    small = training(steps=60)
    one, two = small.run(tmp_path / "one"), small.run(tmp_path / "two", "--processes", "2")
    assert (one.returncode, two.returncode) == (0, 0), one.stdout + two.stdout
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert [manifest(tmp_path / name)["details"]["processes"] for name in ("one", "two")] == [1, 2]
    assert not (tmp_path / "two" / "resume").exists()


def test_two_processes_deal_out_seeds(training, tmp_path):
    small = training(steps=30, grad_accum_steps=1)
    second = ["+", str(small.arm), "--seed", "1", "--data", str(small.data), "--out", str(tmp_path / "second")]
    command = [*small.command(tmp_path / "first", "--processes", "2"), *second]
    done = type(small)(small.arm, small.data)
    done.command = lambda out, *options: command
    assert done.run(tmp_path).returncode == 0
    alone = small.run(tmp_path / "alone")
    assert alone.returncode == 0
    assert contents(tmp_path / "alone") == contents(tmp_path / "first") != contents(tmp_path / "second")
    assert manifest(tmp_path / "second")["details"]["processes"] == 2


def test_more_processes_than_parts_are_refused_in_one_line(training, tmp_path):
    done = training(steps=30, grad_accum_steps=1).run(tmp_path / "out", "--processes", "2")
    assert done.returncode == 2
    [line] = done.stdout.splitlines()
    assert "2 processes cannot share a batch of 1 parts; set the arm's train.grad_accum_steps to a multiple" in line
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_too_few_gpus_are_reported_in_one_line(training, tmp_path):
    done = training().run(tmp_path / "out", "--device", "gpu", "--processes", "2", CUDA_VISIBLE_DEVICES="0")
    assert done.returncode == 2
    [line] = done.stdout.splitlines()
    assert line.startswith("reinduce train: 2 GPUs asked for, 0 found (CUDA_VISIBLE_DEVICES=0); ask the scheduler")
    assert not (tmp_path / "out").exists()


def test_a_job_that_is_started_once_for_each_gpu_is_refused(training, tmp_path):
    done = training().run(tmp_path / "out", "--processes", "2", SLURM_STEP_NUM_TASKS="2")
    assert done.returncode == 2 and "SLURM started this command 2 times at once" in done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training without interruption; the first test that needs it runs it."""
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops_and_the_next_run_ends_in_the_same_bytes(training, tmp_path, whole, count, number):
    """As from a scheduler: the signal reaches the first process, or all of them."""
    small = training(steps=1000, save_every=100_000)
    process = small.start(tmp_path / "out", "--processes", count)
    wait_for(tmp_path / "out" / "resume" / "step00000030.safetensors")
    (os.killpg if number == signal.SIGTERM else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, 1, 2), output
    assert process.returncode == EXIT_STATUS or count == "2"
    assert f"{number.name} came; saved at step" in output and "run again to go on" in output
    assert not (tmp_path / "out" / "checkpoints").exists()
    again = small.run(tmp_path / "out", "--processes", count)
    assert again.returncode == 0 and "resumed from step" in again.stdout
    if not whole.exists():
        assert small.run(whole).returncode == 0
    assert contents(tmp_path / "out") == contents(whole) != {}


def wait_for(path, seconds=60.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} was never written"
        time.sleep(0.02)


def test_a_training_stops_before_its_time_is_over():
    assert not StopRequest(time.monotonic() + 60)
    over = StopRequest(time.monotonic() - 1)
    assert over and over.reason == "the job's time is nearly over"


def test_slurm_gives_the_jobs_end(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert seconds_left() == float("inf")
    queue = tmp_path / "squeue"
    queue.write_text('#!/bin/sh\ndate -d "+600 seconds" +%Y-%m-%dT%H:%M:%S\n')
    queue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert seconds_left() == pytest.approx(540, abs=5)
    queue.write_text("#!/bin/sh\necho NONE\n")
    assert seconds_left() == float("inf")


@pytest.mark.parametrize(("job", "training"), [(3600, 3480), (600, 540), (60, 40), (30, 15)])
def test_time_is_left_to_save_and_to_end_and_never_more_than_half_of_it(tmp_path, monkeypatch, job, training):
    queue = tmp_path / "squeue"
    queue.write_text("#!/bin/sh\nexit 1\n")
    queue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert seconds_left() == float("inf")
    # The queue does not answer: the end as it was at the job's start counts.
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + job))
    assert seconds_left() == pytest.approx(training, abs=3)


def test_signal_handlers_are_restored_after_training():
    before = signal.getsignal(signal.SIGUSR1)
    with handle_signals() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop and stop.reason == "SIGUSR1 came"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_several_machines_need_a_job_that_has_them(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="2 machines need a SLURM job"):
        processes.launch(["train"], 1, 2)
