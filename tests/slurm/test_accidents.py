"""Jobs, nodes and Snakemake itself are killed: no results are lost, and none are made twice."""

import signal

from tests.slurm.conftest import PATIENCE, PROFILE, wait_for
from tests.slurm.trainings import LONG, TARGET, has_saved_state, read_training_logs, training_options


def test_a_cancelled_job_saves_its_state_and_the_retry_resumes(project):
    with project.running(*training_options(LONG), "--", TARGET) as run:
        wait_for(lambda: has_saved_state(project), "no state was saved")
        [job] = project.jobs("train")
        project.cluster.cancel(job.id)
        run.wait(timeout=PATIENCE)
    assert run.returncode == 0, project.read_output()[-5000:]
    assert [job.state for job in project.jobs("train")] == ["CANCELLED", "COMPLETED"]
    assert "resumed from step" in read_training_logs(project)


def test_a_job_near_its_time_limit_stops_and_the_retry_resumes(project):
    # SLURM's shortest limit is a minute; the training takes longer, and stops 20 s before.
    long = training_options(LONG | {"steps": 60_000}, max_hours=0.01)
    with project.running(*long, "--retries", "1", "--", TARGET) as run:
        wait_for(lambda: has_saved_state(project), "no state was saved")
        first = wait_for(lambda: [job for job in project.jobs("train") if job.has_ended], "the job does not end")
        log = next((project.root / "results/logs/slurm").rglob(f"{first[0].id}.log")).read_text()
        assert first[0].state == "FAILED" and "the job's time is nearly over; saved at step" in log
        wait_for(lambda: "resumed from step" in read_training_logs(project), "the training was not resumed")
    assert run.returncode == -signal.SIGKILL


def test_the_job_of_a_failed_node_runs_again_from_the_last_saved_state(project, cluster):
    with project.running(*training_options(LONG), "--", TARGET) as run:
        wait_for(lambda: has_saved_state(project), "no state was saved")
        [job] = project.jobs("train")
        [node] = job.nodes
        cluster.kill_node(node)
        cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        cluster.revive_node(node)
        run.wait(timeout=PATIENCE)
    assert run.returncode == 0, project.read_output()[-5000:]
    assert "resumed from step" in read_training_logs(project)
    assert project.jobs("train")[-1].state == "COMPLETED"


def test_after_a_killed_snakemake_the_next_one_cancels_the_jobs_that_are_left_before_it_submits(project):
    # On a busy machine Snakemake needs a while to start again; the job must not have ended by then.
    longer = training_options(LONG | {"steps": 15_000})
    with project.running(*longer, "--", TARGET) as first:
        wait_for(lambda: has_saved_state(project), "no state was saved")
        first.kill()
        first.wait()
        [left] = [job for job in project.jobs("train") if job.state == "RUNNING"]
        project.run_snakemake("--unlock", *longer)
        output = project.run_snakemake(*PROFILE, *longer, "--", TARGET)
    assert f"cancelling 1 jobs of an earlier run: {left.id}" in output
    jobs = project.jobs("train")
    assert [job.state for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert "resumed from step" in read_training_logs(project)
    # The data existed already, and were not made again.
    data = [job.comment for job in project.jobs("data")]
    assert data and len(set(data)) == len(data)


def test_results_of_jobs_that_finish_after_snakemake_was_killed_are_kept(project):
    short = training_options({"steps": 2000})
    with project.running(*short, "--", TARGET) as first:
        wait_for(lambda: [job for job in project.jobs("train") if job.state == "RUNNING"], "the job does not run")
        first.kill()
        first.wait()
        wait_for(lambda: [job for job in project.jobs("train") if job.state == "COMPLETED"], "the job does not finish")
    before = (project.root / TARGET).stat().st_mtime_ns
    project.run_snakemake("--unlock", *short)
    assert project.count_planned_jobs(*PROFILE, *short, "--", TARGET) == {}
    assert (project.root / TARGET).stat().st_mtime_ns == before and len(project.jobs("train")) == 1
