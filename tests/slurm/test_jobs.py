"""What jobs ask for, several processes in a job, and what becomes of jobs that do not go well."""

import json
import signal

import pytest

from tests.slurm.conftest import PROFILE, until

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


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_processes_share_a_batch_on_one_machine_or_two(project, nodes):
    asked = {"device": "cpu", "devices": 2 // nodes, "nodes": nodes}
    project.snakemake(*PROFILE, *config({"steps": 40, "parts": 2}, **asked), "--", TARGET)
    told = json.loads((project.root / SEED / "manifest.json").read_text())["details"]
    assert (told["processes"], told["nodes"]) == (2, nodes)
    [job] = project.jobs("train")
    assert (job.state, len(job.nodes)) == ("COMPLETED", nodes)


def test_a_gpu_job_asks_for_gpus_and_says_in_a_line_that_there_are_none(project):
    """The cluster's GPUs are devices that torch cannot see, as on a node whose driver is broken."""
    done = project.tried(*PROFILE, *config({"parts": 2}, device="gpu", devices=2), "--retries", "0", "--", TARGET)
    assert done.returncode != 0
    [line] = said_by_training(project).splitlines()
    assert "2 GPUs asked for, 0 found (CUDA_VISIBLE_DEVICES=0,1)" in line
    [job] = project.jobs("train")
    assert job.state == "FAILED"
    assert not list((project.root / SEED).rglob("*.*"))


def test_a_job_that_is_cancelled_saves_and_the_retry_goes_on(project):
    with project.running(*config(LONG), "--", TARGET) as run:
        until(lambda: saved(project), "nothing was saved")
        [job] = project.jobs("train")
        project.cluster.cancel(job.id)
        run.wait(timeout=240)
    assert run.returncode == 0, project.said()[-5000:]
    assert [job.state for job in project.jobs("train")] == ["CANCELLED", "COMPLETED"]
    assert "resumed from step" in said_by_training(project)


def test_a_job_over_its_time_leaves_before_and_the_retry_has_twice_as_much(project):
    # A minute is the least that SLURM knows; the training takes longer, and leaves after 54 s.
    long = config(LONG | {"steps": 60_000}, hours=0.01)
    with project.running(*long, "--retries", "1", "--", TARGET) as run:
        until(lambda: saved(project), "nothing was saved")
        first = until(lambda: [j for j in project.jobs("train") if j.state not in ("PENDING", "RUNNING")], "goes on")
        log = next((project.root / "results/logs/slurm").rglob(f"{first[0].id}.log")).read_text()
        assert first[0].state == "FAILED" and "the job's time is nearly over; saved at step" in log
        until(lambda: "resumed from step" in said_by_training(project), "was not resumed")
    assert run.returncode == -signal.SIGKILL


def test_a_node_that_dies_has_its_job_run_again_from_the_last_save(project, cluster):
    with project.running(*config(LONG), "--", TARGET) as run:
        until(lambda: saved(project), "nothing was saved")
        [job] = project.jobs("train")
        [node] = job.nodes
        cluster.kill_node(node)
        cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        cluster.revive_node(node)
        run.wait(timeout=240)
    assert run.returncode == 0, project.said()[-5000:]
    assert "resumed from step" in said_by_training(project)
    assert project.jobs("train")[-1].state == "COMPLETED"


def test_a_job_that_fails_each_time_is_tried_as_often_as_asked_and_leaves_nothing(project):
    # Too high a rate: the loss stops being a number.
    done = project.tried(*PROFILE, *config({"learning_rate": 1e30}), "--retries", "1", "--", TARGET)
    assert done.returncode != 0
    assert [job.state for job in project.jobs("train")] == ["FAILED", "FAILED"]
    assert "s/a" not in said_by_training(project) and "the loss is not finite at step" in said_by_training(project)
    assert not list((project.root / SEED / "checkpoints").glob("*"))


def test_a_killed_snakemake_leaves_jobs_that_the_next_one_ends_before_it_submits(project):
    with project.running(*config(LONG), "--", TARGET) as first:
        until(lambda: saved(project), "nothing was saved")
        first.kill()
        first.wait()
        [left] = [job for job in project.jobs("train") if job.state == "RUNNING"]
        project.snakemake("--unlock", *config(LONG))
        said = project.snakemake(*PROFILE, *config(LONG), "--", TARGET)
    assert f"ending 1 jobs of an earlier run: {left.id}" in said
    jobs = project.jobs("train")
    assert [job.state for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert "resumed from step" in said_by_training(project)
    # Data had been made before, and were not made again.
    data = [job.comment for job in project.jobs("data")]
    assert data and len(set(data)) == len(data)


def test_what_finished_without_snakemake_is_not_made_again(project):
    short = config({"steps": 2000})
    with project.running(*short, "--", TARGET) as first:
        until(lambda: [job for job in project.jobs("train") if job.state == "RUNNING"], "does not run")
        first.kill()
        first.wait()
        until(lambda: [job for job in project.jobs("train") if job.state == "COMPLETED"], "does not finish")
    before = (project.root / TARGET).stat().st_mtime_ns
    project.snakemake("--unlock", *short)
    assert project.planned(*PROFILE, *short, "--", TARGET) == {}
    assert (project.root / TARGET).stat().st_mtime_ns == before and len(project.jobs("train")) == 1
