"""Jobs and nodes that are lost on the way, and a Snakemake that is killed: nothing is lost and nothing made twice."""

import signal

from tests.slurm.conftest import PROFILE, until
from tests.slurm.trainings import LONG, TARGET, config, said_by_training, saved


def test_a_job_that_is_cancelled_saves_and_the_retry_goes_on(project):
    with project.running(*config(LONG), "--", TARGET) as run:
        until(lambda: saved(project), "nothing was saved")
        [job] = project.jobs("train")
        project.cluster.cancel(job.id)
        run.wait(timeout=240)
    assert run.returncode == 0, project.said()[-5000:]
    assert [job.state for job in project.jobs("train")] == ["CANCELLED", "COMPLETED"]
    assert "resumed from step" in said_by_training(project)


def test_a_job_over_its_time_leaves_before_and_the_retry_goes_on(project):
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
