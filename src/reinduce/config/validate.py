"""What people wrote, against the types that say how it must look: every fault in a line of its own."""

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from reinduce.config import yaml


class ConfigError(ValueError):
    """Everything that is wrong with the configuration, a line each."""

    def __init__(self, problems: list[str]):
        # Arms that share a setting share its fault.
        self.problems = list(dict.fromkeys(problems))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n".join([f"the configuration has {count}:", *(f"  {p}" for p in self.problems)]))


def read(root: Path, name: str, problems: list[str]) -> Any:
    try:
        return yaml.read(root / name)
    except ValueError as error:
        problems.append(f"{name}: {error}")
    except FileNotFoundError:
        problems.append(f"{name}: there is no such file in {root.resolve()}")
    return {}


def named(kind, root: Path, pattern: str, name: str, where: str, problems: list[str]):
    """A YAML file that the configuration names; says which there are if it is not there."""
    path = pattern.format(name)
    if not (root / path).is_file():
        after = pattern.split("{}")[1]
        there = sorted(p.as_posix().removesuffix(after).rsplit("/", 1)[1] for p in root.glob(pattern.format("*")))
        close = difflib.get_close_matches(str(name), there, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        problems.append(f"{where}: no {name!r}; there are: {', '.join(there)}{hint}")
        return None
    before = len(problems)
    values = read(root, path, problems)
    return validated(kind, values, path, problems) if len(problems) == before else None


def note_unknown(names, known, where: str, problems: list[str]) -> None:
    for name in names:
        if name not in known:
            problems.append(f"{where}: no {name!r}; there are: {', '.join(known)}")


# Making an adapter takes far longer than using it, and arms are many.
_adapter = cache(TypeAdapter)


def validated(kind, values: Any, where: str, problems: list[str], origin: Mapping[str, str] | None = None):
    """`values` as `kind` (a pydantic model or a dataclass), or None with every problem noted.

    JSON is the common ground: lists may be tuples and keys of a mapping may be numbers, but
    text is never taken for a number, nor a number for a truth value.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += (_told(kind, problem, where, origin or {}) for problem in error.errors())
    return None


def without_faults(kind, values: Any) -> Any:
    """The values without those that `kind` finds wrong."""
    values = json.loads(json.dumps(values, default=str))
    try:
        _adapter(kind).validate_python(values, strict=True)
    except ValidationError as error:
        for problem in error.errors():
            # Keys of mappings and indices of lists.
            steps: list[Any] = [*problem["loc"]]
            *path, last = steps
            place = values
            for step in path:
                place = place[step] if isinstance(place, dict | list) else {}
            if isinstance(place, dict):
                place.pop(last, None)
    return values


def _told(kind, problem: Mapping, where: str, origin: Mapping[str, str]) -> str:
    """One problem: where, which key, what was found, what was expected."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _fields(kind, path[:-1])
        close = difflib.get_close_matches(path[-1], known, 1)
        message = f"unknown key; expected {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")
    elif problem["type"] == "missing":
        message = "missing"
    elif problem["type"] != "value_error":
        message = f"{message[0].lower()}{message[1:]}, found {problem['input']!r}"
    involved = path[:1] if path else [name for name in origin if name in re.findall(r"\w+", message)]
    places = sorted({origin[name] for name in involved if name in origin})
    set_in = f" (set in {', '.join(places)})" if places else ""
    return f"{where}: {key}: {message}{set_in}" if key else f"{where}: {message}{set_in}"


def _fields(kind, path: list[str]) -> list[str]:
    """Names of the keys that may stand at a path within a type."""
    for step in path:
        if typing.get_origin(kind) in (dict, list):
            kind = typing.get_args(kind)[-1]
            continue
        kind = _hints(kind).get(step, dict)
        if typing.get_origin(kind) in (dict, list):
            continue
        options = [a for a in typing.get_args(kind) if a is not type(None)]
        kind = options[0] if options else kind
    return sorted(_hints(kind))


def _hints(kind) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {info.alias or name: info.annotation for name, info in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        return {f.name: f.type for f in dataclasses.fields(kind)}
    return {}
