"""A copy of the project in which a test may do as it likes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "pyproject.toml", "envs", "slurm", "src", "workflow")


class Project:
    """A copy of the project, whose sources may be edited and whose jobs run the copy's code."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None):
        """`root`: where it is or is to be; `environment`: what its runs get, that of the tests if left out."""
        self.root, self.given = root, os.environ if environment is None else environment
        for part in PARTS if not (root / "src").exists() else ():
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, root / part)

    def snakemake(self, *arguments: str) -> str:
        """What snakemake says; fails the test with it if snakemake fails."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout[-20_000:]
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """What a run gets: this Python's commands first, the copy's code, one thread a process."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.given['PATH']}"
        return {**self.given, "PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1", "PATH": path}

    def started(self, *arguments: str, says_to: int | IO = subprocess.PIPE) -> subprocess.Popen:
        """A run of snakemake that goes on by itself."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            stdout=says_to,
            stderr=subprocess.STDOUT,
        )

    def tried(self, *arguments: str) -> subprocess.CompletedProcess:
        """A run of snakemake, whatever comes of it."""
        run = self.started(*arguments)
        said, _ = run.communicate()
        return subprocess.CompletedProcess(run.args, run.returncode, said)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule → jobs that a run would start; empty if there is nothing to do."""
        said = self.snakemake("-n", *arguments)
        if "Nothing to be done" in said:
            return {}
        stats = said.split("Job stats:")[1].split("total")[0]
        return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", stats, re.M) if rule != "all"}
