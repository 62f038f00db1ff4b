"""Which source files a stage's results depend on.

Snakemake does not track edits under `src/`, so each rule declares these files as input. They
are found by following the imports of the stage's own modules, so no list is kept by hand:
an edit to plotting never retrains a model.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from reinduce import studies

PACKAGE = Path(__file__).resolve().parent.parent
STUDIES = "studies"
"""The package whose modules are the folders of studies."""
PARTS = ("Snakefile", "config.yaml", "envs", "slurm", "src", "workflow")
"""What all results are made from, below the project's folder."""


@cache
def transitive_sources(*modules: str) -> tuple[Path, ...]:
    """List the files of this package, studies included, that modules import, directly or not, their own included.

    `reinduce.trace` is left out: it describes results and never changes them.

    Args:
        modules: Modules or packages, e.g. 'reinduce.score'.

    Returns:
        Absolute paths, sorted.
    """
    found: set[Path] = set()
    waiting = [file for module in modules for file in _files(module)]
    while waiting:
        path = waiting.pop()
        if path in found or path.parent.name == "trace":
            continue
        found.add(path)
        waiting += [file for name in _imports(path) for file in _files(name)]
    return tuple(sorted(found))


@cache
def digest(*modules: str) -> str:
    """Compute a digest of the names and contents of `transitive_sources(*modules)`.

    Args:
        modules: Modules or packages, e.g. 'reinduce.score'.

    Returns:
        Sixteen hexadecimal digits.
    """
    total = hashlib.sha256()
    for name, path in sorted((_name_of(path), path) for path in transitive_sources(*modules)):
        total.update(name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def study_modules(path: Path) -> list[str]:
    """List the modules of studies that a file imports.

    Args:
        path: a Python file, such as the notebook of a figure.

    Returns:
        Names such as 'reinduce.studies.<paper>.answers'.
    """
    return [name for name in _imports(path) if name.startswith(f"{PACKAGE.name}.{STUDIES}.")]


def _name_of(path: Path) -> str:
    """A source file's name that does not depend on where the project lies: below the package, or its study."""
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).as_posix()
    folder = next(folder for folder in map(Path, studies.__path__) if path.is_relative_to(folder))
    return f"{STUDIES}/{path.relative_to(folder).as_posix()}"


def _files(module: str) -> list[Path]:
    """The file of a module; all files of a package; none for a module of another package."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return []
    if parts[1:2] == [STUDIES] and len(parts) > 2:
        found = (_files_below(Path(folder).joinpath(*parts[2:]), parts) for folder in studies.__path__)
        return next((files for files in found if files), [])
    return _files_below(PACKAGE.joinpath(*parts[1:]), parts)


def _files_below(base: Path, parts: list[str]) -> list[Path]:
    if base.with_suffix(".py").is_file() and len(parts) > 1:
        return [base.with_suffix(".py")]
    if len(parts) > 1 and base.is_dir():
        return sorted(base.glob("*.py"))
    return []


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in _statements(ast.parse(path.read_text()).body):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from reinduce.model import sites` may name a module or an object.
            is_ours = node.module == PACKAGE.name or _files(node.module)
            names += _from(node) if is_ours else [node.module]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def _statements(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, nested ones included; expressions import nothing and are most of a file, so they are skipped."""
    for node in nodes:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, part, ()))


def _from(node: ast.ImportFrom) -> list[str]:
    below = [f"{node.module}.{alias.name}" for alias in node.names]
    as_modules = [name for name in below if _files(name)]
    return as_modules if len(as_modules) == len(below) else [str(node.module), *as_modules]
