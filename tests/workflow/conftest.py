"""One real run of the whole workflow at smoke scale, in a copy of the project that all workers share."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.project import Project

# The paper of test_new_paper.py is imported from a copy, under its own name. Importing it here as well, to look for
# examples in docstrings, would declare its task and metric as the library's.
collect_ignore = ["new_paper"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def whole_run(shared) -> Project:
    """The project in which the whole workflow ran at smoke scale, with Snakemake's own records of the run.

    The worker that needs it first makes it. Only one file of tests uses it, and undoes its edits.
    """
    with FileLock(shared / "whole-run.lock"):
        (shared / "whole-run").mkdir(exist_ok=True)
        project = Project(shared / "whole-run")
        if not (shared / "untouched").exists():
            project.run_snakemake("--cores", "2", "--config", "scale=smoke")
            shutil.copytree(project.root / "results", shared / "untouched")
    return project


@pytest.fixture(scope="module")
def smoke(whole_run, shared, tmp_path_factory) -> Project:
    """A copy of the project and its results for each file of tests, which may edit it."""
    project = Project(tmp_path_factory.mktemp("smoke"))
    shutil.copytree(shared / "untouched", project.root / "results")
    return project


@pytest.fixture(scope="session")
def fresh(tmp_path_factory) -> Project:
    """The project without results."""
    return Project(tmp_path_factory.mktemp("fresh"))
