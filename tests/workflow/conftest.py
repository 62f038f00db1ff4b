"""One real run of the whole workflow at smoke scale, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "pyproject.toml", "envs", "slurm", "src", "workflow")


class Project:
    """A copy of the project, whose sources may be edited and whose jobs run the copy's code."""

    def __init__(self, root: Path):
        self.root = root
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, root / part)

    def snakemake(self, *arguments: str) -> str:
        """What snakemake says; fails the test with it if snakemake fails."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout[-20_000:]
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess:
        """A run of snakemake, whatever comes of it."""
        environment = os.environ | {"PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = [sys.executable, "-m", "snakemake", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule → jobs that a run would start; empty if there is nothing to do."""
        said = self.snakemake("-n", *arguments)
        if "Nothing to be done" in said:
            return {}
        stats = said.split("Job stats:")[1].split("total")[0]
        return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", stats, re.M) if rule != "all"}


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """The project after a whole run at smoke scale. Tests that edit it put things back."""
    project = Project(tmp_path_factory.mktemp("smoke"))
    project.snakemake("--cores", "2", "--config", "scale=smoke")
    return project


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Project:
    """The project without results."""
    return Project(tmp_path_factory.mktemp("fresh"))
