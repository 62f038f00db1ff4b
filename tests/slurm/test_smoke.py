"""The whole workflow on SLURM; its tables equal those of a local run."""

import pyarrow.parquet as pq
import pytest

from tests.project import Project
from tests.slurm.conftest import PROFILE, OnCluster

SMOKE = ("--config", "scale=smoke")


@pytest.fixture(scope="module")
def slurm_run(cluster, tmp_path_factory) -> OnCluster:
    """The project after a whole run at smoke scale with the SLURM profile."""
    project = OnCluster(tmp_path_factory.mktemp("slurm"), cluster)
    project.run_snakemake(*PROFILE, *SMOKE)
    return project


def test_a_few_jobs_make_everything(slurm_run):
    assert (slurm_run.root / "results/smoke/index.html").is_file()
    jobs = slurm_run.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    stages = {job.comment.split("_")[1] for job in jobs}
    assert stages == {"data", "train", "score", "ablate", "attribute", "series"}
    # Over a hundred trainings: short ones share jobs, and Snakemake makes verdicts and figures without jobs.
    assert len(jobs) < 40


def test_each_job_has_a_log_in_the_folder_of_its_rule(slurm_run):
    for job in slurm_run.jobs("train"):
        [log] = (slurm_run.root / "results/logs/slurm" / job.comment.split("_wildcards")[0]).rglob(f"{job.id}.log")
        assert "Finished jobid" in log.read_text()


def test_a_second_run_would_start_no_job(slurm_run):
    assert slurm_run.count_planned_jobs(*PROFILE, *SMOKE) == {}


def test_tables_equal_those_of_a_local_run(slurm_run, tmp_path, record_property):
    local = Project(tmp_path)
    # All tables, without the figures drawn from them.
    figures = [rule for rule in local.count_planned_jobs(*SMOKE) if rule.startswith("figure")]
    local.run_snakemake("--cores", "2", *SMOKE, "--omit-from", *figures)
    folders = [root / "results/smoke" for root in (local.root, slurm_run.root)]
    found = [{path.relative_to(folder) for path in folder.rglob("*.parquet")} for folder in folders]
    assert found[0] == found[1] and len(found[0]) > 500
    differing = [
        name for name in found[0] if not pq.read_table(folders[0] / name).equals(pq.read_table(folders[1] / name))
    ]
    assert differing == []
    record_property("figure", f"{len(found[0])} tables of the run on SLURM equal those of a local run")
