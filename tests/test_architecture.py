"""The house stands as its plan says: one-way flow, and no paper's name in the engine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "reinduce"
STAGES = ("data", "train", "score", "ablate", "attribute", "judge", "report")
BEYOND = ("replay",)
"""What looks at a run from outside: it starts stages as anyone does, and imports none."""
FOUNDATIONS = ("config", "model", "task", "trace", "tables")
COMPUTING = ("data", "train", "score", "ablate", "attribute")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """Rooms of this package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reinduce"):
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("reinduce.")}
    return names


@pytest.mark.parametrize("stage", STAGES + BEYOND)
def test_a_stage_imports_foundations_and_itself_only(stage):
    for path in (PACKAGE / stage).rglob("*.py"):
        assert imported_rooms(path) <= {*FOUNDATIONS, stage}, path


@pytest.mark.parametrize("foundation", FOUNDATIONS[:-1])
def test_a_foundation_imports_no_stage(foundation):
    for path in (PACKAGE / foundation).rglob("*.py"):
        assert imported_rooms(path) <= set(FOUNDATIONS), path


def test_the_engine_names_no_study():
    """A new paper is a folder, never a branch: strings and names in code know no study."""
    studies = [path.name for path in (ROOT / "workflow" / "studies").iterdir() if path.is_dir()]
    assert studies
    for path in modules():
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                assert not any(study in node.value for study in studies), (path, node.value)
            if isinstance(node, ast.Name):
                assert not any(study in node.id for study in studies), (path, node.id)


@pytest.mark.parametrize("stage", COMPUTING)
def test_computing_stages_need_torch_and_pyarrow_alone(stage):
    """A GPU machine without the workflow's libraries can run them by their own commands."""
    absent = ["numpy", "pandas", "yaml", "pydantic", "tokenizers", "snakemake", "papermill"]
    absent += ["duckdb", "scipy", "safetensors", "matplotlib"]
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from reinduce.cli import COMMANDS, main\n"
        f"[name] = [name for name in COMMANDS if name == {stage!r}]\n"
        "try:\n    main([name, '--help'])\n"
        "except SystemExit as stop:\n    sys.exit(stop.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout


def test_every_stage_has_rule_package_and_tests_of_one_name():
    for stage in STAGES:
        assert (ROOT / "workflow" / "rules" / f"{stage}.smk").is_file()
        assert (PACKAGE / stage / "command.py").is_file()
        assert any((ROOT / "tests" / stage).glob("test_*.py"))
