"""A SLURM cluster on this machine, and copies of the project whose jobs run on it."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project import Project
from tests.slurm.cluster import Cluster, Job, describe_missing_programs

# Snakemake checks jobs at once, because they take seconds here; the other settings are those of the profile.
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1")
PATIENCE = 600.0
"""Seconds after which a wait ends for something that never comes: on a busy machine a first save took over two minutes,
and a resumed training more than four."""


def pytest_collection_modifyitems(items):
    """Mark all tests here `slurm`, and skip them if SLURM is not installed."""
    reason = describe_missing_programs()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes with two fake GPUs each."""
    # The path must be short enough for sockets.
    with tempfile.TemporaryDirectory() as folder, Cluster(folder) as running:
        yield running


class OnCluster(Project):
    """A copy of the project whose jobs run on the cluster."""

    def __init__(self, root: Path, cluster: Cluster):
        super().__init__(root, cluster.environment())
        self.cluster = cluster

    def jobs(self, rule: str = "") -> list[Job]:
        """List the jobs of this copy, ended ones too, in the order of submission; `rule`: those of one rule only."""
        own = [job for job in self.cluster.jobs() if Path(job.workdir) == self.root]
        return sorted((job for job in own if job.comment.startswith(f"rule_{rule}")), key=lambda job: int(job.id))

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """Start Snakemake; kill it and cancel its jobs if they still run at the end of the block."""
        # Its output goes to a file, since no one reads a pipe during the run.
        with open(self.root / "output.txt", "w") as output:
            run = self.start_snakemake(*PROFILE, *arguments, output=output)
        try:
            yield run
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
            for job in self.jobs():
                if not job.has_ended:
                    self.cluster.cancel(job.id)

    def read_output(self) -> str:
        """Return the output of the run that `running` started."""
        return (self.root / "output.txt").read_text()


@pytest.fixture
def project(cluster, tmp_path) -> OnCluster:
    return OnCluster(tmp_path, cluster)


def wait_for(find: Callable[[], object], problem: str, seconds: float = PATIENCE) -> object:
    """Call `find` until it returns something, and return that; fail the test with `problem` if it takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := find()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {problem}"
        time.sleep(0.2)
    return value
