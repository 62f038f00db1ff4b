"""The environment: one lock, its copy for conda, and what is installed."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PINS = [line for line in (ROOT / "envs" / "lock.txt").read_text().splitlines() if line and not line.startswith("#")]


def test_the_conda_file_lists_the_pins_of_the_lock():
    conda = yaml.safe_load((ROOT / "envs" / "environment.yaml").read_text())
    [by_pip] = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert by_pip == PINS


def test_every_pin_is_a_version_and_names_no_address():
    assert PINS
    assert all(pin.count("==") == 1 and not set(pin) & set("/@+ ") for pin in PINS)


def test_the_locked_versions_are_installed():
    for pin in PINS:
        name, version = pin.split("==")
        assert importlib.metadata.version(name).split("+")[0] == version, name


def test_every_requirement_of_pyproject_is_locked():
    """Each extra but `bench`, which has a lock of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["workflow"], *extras["dev"]]
    locked = {normalise(pin.split("==")[0]) for pin in PINS}
    assert {normalise(re.match(r"[\w.-]+", requirement)[0]) for requirement in required} <= locked


def test_hooks_before_a_commit_call_tools_of_the_locked_environment():
    """No hook downloads anything: each runs a program of .venv that `make lint` runs too."""
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert program.replace(".venv/bin", "$(BIN)") in lint, hook["id"]


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
