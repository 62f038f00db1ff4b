"""The house stands as its plan says: one-way flow, and no paper's name in the engine."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from reinduce.config.declare import qualify
from reinduce.config.find import find_all

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "reinduce"
STAGES = ("data", "train", "score", "ablate", "attribute", "judge", "report")
BEYOND = ("replay",)
"""What looks at a run from outside: it starts stages as anyone does, and imports none."""
FOUNDATIONS = ("config", "model", "tasks", "metrics", "studies", "trace", "tables")
COMPUTING = ("data", "train", "score", "ablate", "attribute")
STUDIES = sorted(path.parent.name for path in (ROOT / "workflow" / "studies").glob("*/study.yaml"))
NAMED_ALL_THE_SAME = {
    # A column of the tables train_log, index_losses and token_losses, which has the metric's name.
    "loss": {"train/loop.py", "score/command.py", "score/series.py", "report/plots.py"},
}
"""Declared name → files of stages that may hold it."""


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


def declared_names() -> set[str]:
    """Names of all tasks, metrics, interventions and ablations, plain and with their study, and of the studies."""
    found = set(STUDIES)
    for kind in ("task", "metric", "intervention", "ablation"):
        for study in ("", *STUDIES):
            for name, declared in find_all(kind, study).items():
                found |= {name, qualify(name, declared.owner)}
    return found


def strings_of(path: Path) -> Iterator[str]:
    """All string constants of a Python file, or of a file of rules."""
    if path.suffix == ".py":
        tree = ast.parse(path.read_text())
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        yield from (value for value in constants if isinstance(value, str))
        return
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.STRING and "f" not in token.string.split(token.string[-1])[0].lower():
                yield ast.literal_eval(token.string)


def files_that_name_nothing() -> list[Path]:
    rooms = (*STAGES, "config")
    return [*(path for room in rooms for path in (PACKAGE / room).rglob("*.py")), *ROOT.glob("workflow/rules/*.smk")]


def test_stages_rules_and_configuration_name_no_task_metric_intervention_or_study():
    """They ask for what is declared: a new one needs no edit to them."""
    declared, found = declared_names(), {}
    assert {"repeated_phrases", "singh2024.force_match", "zero_head", "prefix_matching", "review2026"} <= declared
    for path in files_that_name_nothing():
        for text in set(strings_of(path)) & declared:
            name = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()
            found.setdefault(text, set()).add(name)
    assert found == NAMED_ALL_THE_SAME, "an exception that nothing needs is one too many"


def test_their_comments_and_docstrings_name_none_either():
    """Names that are words of plain English, such as `loss`, are no names there."""
    names = {name for name in declared_names() if not name.isalpha()}
    assert len(names) > 50
    for path in files_that_name_nothing():
        assert not set(re.findall(r"\w+", path.read_text())) & names, path


def test_strings_are_found_in_rules_as_in_code(tmp_path):
    rules = tmp_path / "a.smk"
    rules.write_text(
        'rule:\n    input:\n        "loss",\n        own=f"{R}/x",\n    shell:\n        "a"\n        r"b"\n'
    )
    assert list(strings_of(rules)) == ["loss", "a", "b"]
    code = tmp_path / "a.py"
    code.write_text("x = {'loss': f'{y}c'}\n")
    assert sorted(strings_of(code)) == ["c", "loss"]


def study_modules() -> list[Path]:
    """Code that stages import of studies: not their figures, and not their tests."""
    found = [path for study in STUDIES for path in (ROOT / "workflow" / "studies" / study).rglob("*.py")]
    return [path for path in found if not {"figures", "tests"} & set(path.parts)]


def imported_studies(path: Path) -> set[str]:
    """Studies whose code a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name for name in (node.module, *below) if name.startswith("reinduce.studies.")}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("reinduce.studies.")}
    return {name.split(".")[2] for name in names} & set(STUDIES)


def test_a_study_imports_the_library_and_itself_only():
    assert len(study_modules()) >= 8
    for path in study_modules():
        [own] = set(path.parts) & set(STUDIES)
        assert imported_rooms(path) <= set(FOUNDATIONS), path
        assert imported_studies(path) <= {own}, path


def test_no_module_of_the_package_imports_a_study():
    assert [path for path in modules() if imported_studies(path)] == []


def test_declarations_need_torch_and_pyarrow_alone():
    """A job reads its task, metrics and interventions where the workflow's libraries are not installed."""
    absent = ["numpy", "pandas", "yaml", "pydantic", "tokenizers", "snakemake", "h5py", "duckdb", "scipy"]
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from reinduce.config.find import find_all\n"
        f"for study in {['', *STUDIES]!r}:\n"
        "    for kind in ('task', 'metric', 'intervention', 'ablation'):\n"
        "        find_all(kind, study)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
