"""A real SLURM cluster on this machine, and copies of the project that run on it."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project import Project
from tests.slurm.cluster import Cluster, Job, missing

# Status is asked for at once, as jobs here take seconds; the rest is the profile's own.
PROFILE = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1")


def pytest_collection_modifyitems(items):
    """All tests here are marked `slurm`, and skipped where there is none."""
    why = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two GPUs each, that are none."""
    # A name that is short enough for sockets.
    with tempfile.TemporaryDirectory() as folder, Cluster(folder) as running:
        yield running


class OnCluster(Project):
    """A copy of the project whose jobs go to the cluster."""

    def __init__(self, root: Path, cluster: Cluster):
        super().__init__(root, cluster.environment())
        self.cluster = cluster

    def jobs(self, rule: str = "") -> list[Job]:
        """This copy's jobs, ended ones too, in the order of their submission; `rule`: those of one."""
        own = [job for job in self.cluster.jobs() if Path(job.workdir) == self.root]
        return sorted((job for job in own if job.comment.startswith(f"rule_{rule}")), key=lambda job: int(job.id))

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """A run of snakemake that is ended, with its jobs, if the block leaves it behind."""
        # Into a file: nobody reads a pipe while the run goes on.
        with open(self.root / "said.txt", "w") as said:
            run = self.started(*PROFILE, *arguments, says_to=said)
        try:
            yield run
        finally:
            if run.poll() is None:
                run.kill()
                run.wait()
            for job in self.jobs():
                if job.state in ("PENDING", "RUNNING"):
                    self.cluster.cancel(job.id)

    def said(self) -> str:
        """What that run says."""
        return (self.root / "said.txt").read_text()


@pytest.fixture
def project(cluster, tmp_path) -> OnCluster:
    return OnCluster(tmp_path, cluster)


def until(found: Callable[[], object], what: str, seconds: float = 120.0) -> object:
    """What `found` gives once it gives something; fails the test with `what` if it never does."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {what}"
        time.sleep(0.2)
    return value
