"""The whole workflow through SLURM, and that its tables are those of a run without it."""

import pyarrow.parquet as pq
import pytest

from tests.project import Project
from tests.slurm.conftest import PROFILE, OnCluster

SMOKE = ("--config", "scale=smoke")


@pytest.fixture(scope="module")
def through_slurm(cluster, tmp_path_factory) -> OnCluster:
    """The project after a whole run at smoke scale by the profile."""
    project = OnCluster(tmp_path_factory.mktemp("slurm"), cluster)
    project.snakemake(*PROFILE, *SMOKE)
    return project


def test_everything_is_made_by_few_jobs(through_slurm):
    assert (through_slurm.root / "results/smoke/index.html").is_file()
    jobs = through_slurm.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    stages = {job.comment.split("_")[1] for job in jobs}
    assert stages == {"data", "train", "score", "ablate", "attribute", "series"}
    # Over a hundred trainings; small work is done inside of jobs, and verdicts and figures beside Snakemake.
    assert len(jobs) < 40


def test_each_job_has_a_log_by_its_rules_name(through_slurm):
    for job in through_slurm.jobs("train"):
        [log] = (through_slurm.root / "results/logs/slurm" / job.comment.split("_wildcards")[0]).rglob(f"{job.id}.log")
        assert "Finished jobid" in log.read_text()


def test_nothing_is_left_to_do(through_slurm):
    assert through_slurm.planned(*PROFILE, *SMOKE) == {}


def test_tables_are_those_of_a_run_without_slurm(through_slurm, tmp_path, record_property):
    local = Project(tmp_path)
    # All tables, without the figures drawn from them.
    figures = [rule for rule in local.planned(*SMOKE) if rule.startswith("figure")]
    local.snakemake("--cores", "2", *SMOKE, "--omit-from", *figures)
    folders = [root / "results/smoke" for root in (local.root, through_slurm.root)]
    found = [{path.relative_to(folder) for path in folder.rglob("*.parquet")} for folder in folders]
    assert found[0] == found[1] and len(found[0]) > 500
    differing = [
        name for name in found[0] if not pq.read_table(folders[0] / name).equals(pq.read_table(folders[1] / name))
    ]
    assert differing == []
    record_property("figure", f"{len(found[0])} tables of the run through SLURM equal those of a local run")
