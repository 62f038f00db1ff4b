"""Find declarations by name: import the modules that may declare them, and collect what they declare."""

import importlib
import importlib.util
import pkgutil
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from reinduce.config.declare import STUDIES, DeclarationError, declared_in, qualify
from reinduce.config.deferred_torch import torch_deferred

LIBRARY_MODULES = {
    "task": ("reinduce.tasks",),
    "metric": ("reinduce.metrics",),
    "intervention": ("reinduce.model.clamps",),
    "ablation": (),
}
"""Kind of declaration → library packages and modules that declare it."""
STUDY_MODULES = {"task": "tasks", "metric": "metrics", "intervention": "interventions", "ablation": "interventions"}
"""Kind of declaration → the module or package of a study that declares it."""


def find_all(kind: str, study: str = "") -> dict[str, Any]:
    """Return everything of a kind that the library and a study declare.

    Args:
        kind: task, metric, intervention or ablation.
        study: a study's key; '': the library alone.

    Returns:
        Name → declaration, by the names that the study itself uses.

    Raises:
        DeclarationError: if a study's module cannot be imported, or the study declares a name that the library has.
    """
    for module in LIBRARY_MODULES[kind]:
        _import_with_submodules(module)
    found = declared_in(kind, "")
    if study:
        _import_with_submodules(f"{STUDIES}.{study}.{STUDY_MODULES[kind]}")
        own = declared_in(kind, study)
        taken = sorted(set(found) & set(own))
        if taken:
            where = own[taken[0]].module
            raise DeclarationError(f"{where}: the library already has a {kind} {taken[0]!r}; give yours another name")
        found |= own
    return found


def find(kind: str, name: str) -> Any:
    """Return one declaration by its qualified name.

    Raises:
        ValueError: if there is none, listing those that there are.
    """
    study, _, plain = name.rpartition(".")
    known = find_all(kind, study)
    if plain not in known or known[plain].owner != study:
        by_owner = sorted((declared.owner, other) for other, declared in known.items())
        there = ", ".join(qualify(other, owner) for owner, other in by_owner)
        raise ValueError(f"no {kind} {name!r}; there are: {there}")
    return known[plain]


@cache
def _import_with_submodules(name: str) -> None:
    """Import a module and, of a package, all its modules; do nothing for a study's module that does not exist."""
    if not _exists(name):
        return
    with torch_deferred():
        package = _import(name)
        for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
            _import(f"{name}.{found.name}")


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _import(name: str) -> Any:
    """Import a module.

    Raises:
        DeclarationError: with file, line and error, if a study's module fails; errors of the library stay as they are.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        if not name.startswith(f"{STUDIES}.") or isinstance(error, DeclarationError):
            raise
        where = _place_of(error, name)
        raise DeclarationError(f"{where}: {type(error).__name__}: {error}; correct the study's code") from None


def _place_of(error: Exception, module: str) -> str:
    """Return file and line of the study's code that an import failed at."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    folders = [str(Path(folder)) for folder in importlib.import_module(STUDIES).__path__]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(frame.filename.startswith(folder) for folder in folders)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else module


def modules_of(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return the modules of some declarations, each once.

    Args:
        names: pairs of kind and qualified name.
    """
    return list(dict.fromkeys(find(kind, name).module for kind, name in names))
