"""A copy of the project that a test may edit and run."""

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
    """A copy of the project whose jobs run the copy's own code."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None):
        """Copy the project to a folder, unless the folder has a copy.

        Args:
            root: the folder of the copy.
            environment: the environment variables of its runs; None: those of the tests.
        """
        self.root, self.base_environment = root, os.environ if environment is None else environment
        for part in PARTS if not (root / "src").exists() else ():
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, root / part)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a run: this Python's commands first, the copy's code, one thread a process."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{self.base_environment['PATH']}"
        return {**self.base_environment, "PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1", "PATH": path}

    def start_snakemake(self, *arguments: str, output: int | IO = subprocess.PIPE) -> subprocess.Popen:
        """Start Snakemake and return while it runs; `output` receives what it prints."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def try_snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake and return its exit status and output."""
        run = self.start_snakemake(*arguments)
        output, _ = run.communicate()
        return subprocess.CompletedProcess(run.args, run.returncode, output)

    def run_snakemake(self, *arguments: str) -> str:
        """Run Snakemake and return its output; fail the test if Snakemake fails."""
        done = self.try_snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-20_000:]
        return done.stdout

    def count_planned_jobs(self, *arguments: str) -> dict[str, int]:
        """Count the jobs that a run would start, by rule; empty if there is nothing to do."""
        output = self.run_snakemake("-n", *arguments)
        if "Nothing to be done" in output:
            return {}
        stats = output.split("Job stats:")[1].split("total")[0]
        return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", stats, re.M) if rule != "all"}
