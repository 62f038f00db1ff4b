"""What the code of a study may import.

import-linter follows the folders of src/ alone, but `reinduce.studies` finds its modules in workflow/studies. So the
contract for studies is checked here: a study imports the library and itself, never a stage and never another study.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "workflow" / "studies"
PACKAGE = ROOT / "src" / "reinduce"
LIBRARY = ("config", "metrics", "model", "tables", "tasks", "trace")
FIGURE_HELPERS = ("reinduce.report.plots", "reinduce.report.read")


def imported_modules(source: str, package: str) -> set[str]:
    """Names of the modules of reinduce that a module imports.

    Args:
        source: the module's text.
        package: the package that relative imports start from, such as `reinduce.studies.singh2024`.

    Returns:
        Dotted names; `from a import b` gives `a.b`, since b may be a module.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "reinduce"}


def is_allowed(name: str, study: str, in_figure: bool) -> bool:
    """Whether code of a study may import a module of reinduce."""

    def lies_in(package: str) -> bool:
        return name == package or name.startswith(f"{package}.")

    if in_figure and any(map(lies_in, FIGURE_HELPERS)):
        return True
    if lies_in("reinduce.studies"):
        return lies_in(f"reinduce.studies.{study}")
    parts = name.split(".")
    if len(parts) == 1:
        return True
    # What is no module is a name of the public interface, as in `from reinduce import load`.
    is_module = len(parts) > 2 or any((PACKAGE / f"{parts[1]}{suffix}").exists() for suffix in ("", ".py"))
    return parts[1] in LIBRARY or not is_module


def study_modules() -> list[Path]:
    """Every Python file of a study, its tests left out: they may run stages."""
    return sorted(path for path in STUDIES.glob("*/**/*.py") if "tests" not in path.relative_to(STUDIES).parts)


@pytest.mark.parametrize("path", study_modules(), ids=lambda path: path.relative_to(STUDIES).as_posix())
def test_a_study_imports_the_library_and_itself_only(path):
    study, *folders = path.relative_to(STUDIES).parent.parts
    # Figures are notebooks in percent format.
    in_figure = "# %%" in path.read_text()
    imported = imported_modules(path.read_text(), ".".join(["reinduce", "studies", study, *folders]))
    assert {name for name in imported if not is_allowed(name, study, in_figure)} == set()


@pytest.mark.parametrize(
    "statement, allowed",
    [
        ("from reinduce.model.sites import Site", True),
        ("from reinduce.studies.mine.tasks import words", True),
        ("from . import tasks", True),
        ("from .tasks import words", True),
        ("from reinduce import load", True),
        ("import reinduce", True),
        ("import torch", True),
        ("from reinduce.train.loop import train", False),
        ("from reinduce import train", False),
        ("from reinduce import cli", False),
        ("import reinduce.score.heads", False),
        ("from reinduce.report import plots", False),
        ("from reinduce.report.command import run_report", False),
        ("from reinduce.studies.other.metrics import score", False),
        ("from reinduce.studies import other", False),
        ("from ..other import metrics", False),
    ],
)
def test_forbidden_imports_are_found(statement, allowed):
    imported = imported_modules(statement, "reinduce.studies.mine")
    assert all(is_allowed(name, "mine", in_figure=False) for name in imported) is allowed


def test_figures_may_import_the_helpers_for_figures():
    assert is_allowed("reinduce.report.plots", "mine", in_figure=True)
    assert not is_allowed("reinduce.report.command", "mine", in_figure=True)
