"""A copy of the configuration, and studies that are written for a test, in a folder of their own."""

import importlib
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from reinduce import studies
from reinduce.config import declare, find

ROOT = Path(__file__).parents[2]
KEY = "planted1999"


@pytest.fixture
def project(tmp_path):
    """A copy of the configuration, to be spoilt."""
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    shutil.copy(ROOT / "config.yaml", tmp_path)
    return tmp_path


def forget(key: str) -> None:
    """Forget all that was imported and declared of a study."""
    for name in [name for name in sys.modules if name == f"reinduce.studies.{key}" or f"studies.{key}." in name]:
        del sys.modules[name]
    vars(studies).pop(key, None)
    for kind, owner in [known for known in declare._DECLARED if known[1] == key]:
        del declare._DECLARED[kind, owner]
    find._import_with_submodules.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def searched(monkeypatch):
    """Folders of studies that a test adds are forgotten after it."""
    monkeypatch.setattr(studies, "__path__", list(studies.__path__))
    monkeypatch.setenv(studies.FOLDERS_VARIABLE, "")


@pytest.fixture
def study(tmp_path, searched):
    """Write a study's modules, as path=source, into a folder of studies that is searched; returns its folder."""
    folder = tmp_path / "papers" / KEY

    def write(**modules: str) -> Path:
        for name, source in modules.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source))
        forget(KEY)
        studies.add_folders([folder.parent])
        return folder

    yield write
    forget(KEY)
