"""What jobs ask for, several processes in a job, and jobs that cannot go well."""

import json

import pytest

from tests.slurm.conftest import PROFILE
from tests.slurm.trainings import SEED, TARGET, config, said_by_training


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


def test_a_job_that_fails_each_time_is_tried_as_often_as_asked_and_leaves_nothing(project):
    # Too high a rate: the loss stops being a number.
    done = project.tried(*PROFILE, *config({"learning_rate": 1e30}), "--retries", "1", "--", TARGET)
    assert done.returncode != 0
    assert [job.state for job in project.jobs("train")] == ["FAILED", "FAILED"]
    assert "s/a" not in said_by_training(project) and "the loss is not finite at step" in said_by_training(project)
    assert not list((project.root / SEED / "checkpoints").glob("*"))
