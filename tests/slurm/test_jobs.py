"""What jobs request, several processes in a job, and jobs that must fail."""

import json

import pytest

from tests.slurm.conftest import PROFILE
from tests.slurm.trainings import SEED, TARGET, read_training_logs, training_options


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_processes_share_a_batch_on_one_machine_or_two(project, nodes):
    cluster = {"device": "cpu", "max_gpus_per_node": 2 // nodes, "max_nodes": nodes}
    project.run_snakemake(*PROFILE, *training_options({"steps": 40, "grad_accum_steps": 2}, **cluster), "--", TARGET)
    details = json.loads((project.root / SEED / "manifest.json").read_text())["details"]
    assert (details["processes"], details["nodes"]) == (2, nodes)
    [job] = project.jobs("train")
    assert (job.state, len(job.nodes)) == ("COMPLETED", nodes)


def test_a_gpu_job_requests_gpus_and_reports_in_one_line_that_it_finds_none(project):
    """The GPUs of the cluster are device files that torch does not recognise, as on a node with a broken driver."""
    done = project.try_snakemake(
        *PROFILE,
        *training_options({"grad_accum_steps": 2}, device="gpu", max_gpus_per_node=2),
        "--retries",
        "0",
        "--",
        TARGET,
    )
    assert done.returncode != 0
    [line] = read_training_logs(project).splitlines()
    assert "2 GPUs asked for, 0 found (CUDA_VISIBLE_DEVICES=0,1)" in line
    [job] = project.jobs("train")
    assert job.state == "FAILED"
    assert not list((project.root / SEED).rglob("*.*"))


def test_a_job_that_always_fails_is_retried_as_often_as_configured_and_leaves_no_files(project):
    # The learning rate is so high that the loss becomes infinite or not a number.
    done = project.try_snakemake(*PROFILE, *training_options({"learning_rate": 1e30}), "--retries", "1", "--", TARGET)
    assert done.returncode != 0
    assert [job.state for job in project.jobs("train")] == ["FAILED", "FAILED"]
    assert "s/a" not in read_training_logs(project) and "the loss is not finite at step" in read_training_logs(project)
    assert not list((project.root / SEED / "checkpoints").glob("*"))
