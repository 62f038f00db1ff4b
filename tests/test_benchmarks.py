"""The benchmarks still speak to the package as it is: `make bench` alone has the libraries of the peers."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/peers/*.py")])


def missing_names(source: str) -> list[str]:
    """Names that a text imports from this package and that are not there."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "reinduce":
            try:
                module = importlib.import_module(node.module)
            except ModuleNotFoundError:
                missing.append(node.module)
                continue
            missing += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
    return missing


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_they_import_what_there_is(path):
    assert missing_names(path.read_text()) == []


def test_a_name_that_is_gone_is_found():
    source = "from reinduce.score.heads import attention_at\nfrom reinduce.config.load import load, loaded\n"
    assert missing_names(source) == ["reinduce.score.heads", "reinduce.config.load.loaded"]
