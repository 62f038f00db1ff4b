"""Examples in the docstrings of studies' modules, under the names by which they are imported."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "workflow" / "studies"
NO_MODULES = {"tests", "figures"}


def module_names(folder: Path) -> list[str]:
    """Names of the modules of the studies in a folder, such as `singh2024.tasks.fewshot_classification`."""
    found = (path.relative_to(folder) for path in folder.glob("*/**/*.py"))
    return sorted(".".join(path.with_suffix("").parts) for path in found if not NO_MODULES & set(path.parts))


@pytest.mark.parametrize("name", module_names(STUDIES))
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"reinduce.studies.{name}")).failed == 0


def test_a_wrong_example_is_found(tmp_path, monkeypatch):
    module = tmp_path / "somebody2026" / "metrics.py"
    module.parent.mkdir()
    module.write_text('"""Adds.\n\n>>> 1 + 1\n3\n"""\n')
    monkeypatch.setattr("reinduce.studies.__path__", [str(tmp_path)])
    assert module_names(tmp_path) == ["somebody2026.metrics"]
    assert doctest.testmod(importlib.import_module("reinduce.studies.somebody2026.metrics")).failed == 1


def test_pytest_accepts_a_whole_study_folder():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(STUDIES)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert all(f"{study.name}/tests/" in ended.stdout for study in STUDIES.iterdir() if (study / "tests").exists())
