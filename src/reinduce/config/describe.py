"""What the pages of metrics and terms are made of: keys with their docstrings, and Markdown."""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reinduce.config.declare import Tolerance


@dataclasses.dataclass(frozen=True)
class Key:
    """A field of a class of the configuration."""

    name: str
    default: str
    """As YAML; empty if the key is required."""
    meaning: str


def describe_keys(cls: type) -> list[Key]:
    """Return the fields of a dataclass or of a pydantic model, with the docstrings below them in the source.

    Args:
        cls: the class; fields that it inherits come first.
    """
    meanings: dict[str, str] = {}
    for each in reversed([c for c in cls.__mro__ if c.__module__.startswith("reinduce.")]):
        [body] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for line, below in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                meanings[line.target.id] = " ".join(_docstring_of(below).split())
    # A key that is a word of Python, such as `with`, is a field whose name ends with an underscore.
    return [Key(name.removesuffix("_"), text, meanings.get(name, "")) for name, text in _defaults(cls)]


def _docstring_of(statement: ast.stmt) -> str:
    """Return the text of a statement that is a string alone; of any other an empty one."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _defaults(cls: Any) -> Iterator[tuple[str, str]]:
    """Yield the name of every field, and its default as YAML; empty if it has none."""
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                yield field.name, _as_yaml(field.default_factory())
            else:
                yield field.name, "" if field.default is dataclasses.MISSING else _as_yaml(field.default)
        return
    for name, field in cls.model_fields.items():
        yield name, "" if field.is_required() else _as_yaml(field.get_default(call_default_factory=True))


def _as_yaml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float | str):
        return str(value) or '""'
    # Mappings and classes of the configuration have no defaults but their own.
    return "{}"


def describe_module(module: str) -> str:
    """Return a module's docstring without its first words "The `…` task: " and without its key to shape suffixes."""
    text = inspect.cleandoc(importlib.import_module(module).__doc__ or "")
    text = re.sub(r"^The `\w+` task: (.)", lambda found: found[1].upper(), text)
    return "\n\n".join(part for part in text.split("\n\n") if not part.startswith("Shape suffixes"))


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table.

    >>> print(format_table(["a", "b"], [["one", "two | three"]]), end="")
    | a | b |
    |---|---|
    | one | two \\| three |
    """
    lines = [header, *rows]
    cells = ["| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines]
    cells.insert(1, "|" + "---|" * len(header))
    return "\n".join(cells) + "\n"


def code(names: Iterable[str]) -> str:
    """Format names as Markdown code: `a`, `b`."""
    return ", ".join(f"`{name}`" for name in names)


def first_sentence(text: str) -> str:
    """Return a text's first sentence on one line.

    >>> first_sentence("One thing (Olsson et al. 2022), and\\nanother. More of it.")
    'One thing (Olsson et al. 2022), and another.'
    """
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


def format_range(value_range: tuple[float | None, float | None]) -> str:
    """Format a metric's range of values.

    >>> format_range((0, 1)), format_range((0, None)), format_range((None, 1)), format_range((None, None))
    ('0 to 1', '0 or more', '1 or less', 'any')
    """
    low, high = (None if end is None else f"{end:g}" for end in value_range)
    if low is None or high is None:
        return f"{low} or more" if low is not None else f"{high} or less" if high is not None else "any"
    return f"{low} to {high}"


def format_tolerance(tolerance: Tolerance) -> str:
    """Format how far a metric's mean may differ between machines.

    >>> format_tolerance(Tolerance(absolute=20, relative=0.05, reason="…"))
    '20 and 5 % of the mean'
    """
    parts = [f"{tolerance.absolute:g}"] if tolerance.absolute or not tolerance.relative else []
    return " and ".join(parts + ([f"{100 * tolerance.relative:g} % of the mean"] if tolerance.relative else []))
