"""One real run of the whole workflow at smoke scale, in a copy of the project."""

import pytest

from tests.project import Project


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
