"""YAML as people write it: numbers such as 3e-3 are numbers, and a key given twice is an error."""

import re
from pathlib import Path
from typing import Any

import yaml

FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


class _Strict(yaml.constructor.SafeConstructor):
    def construct_mapping(self, node, deep=False):
        seen = []
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} given twice", key.start_mark)
            seen.append(name)
        return super().construct_mapping(node, deep)


class _Loader(_Strict, yaml.SafeLoader):
    pass


_FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _FastLoader(_Strict, _FASTEST):
    pass


for _loader in (_Loader, _FastLoader):
    _loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def read(path: Path) -> Any:
    """What a YAML file says.

    Raises FileNotFoundError, or ValueError naming the line.
    """
    try:
        return _loaded(path.read_text())
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"line {error.problem_mark.line + 1}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _loaded(text: str) -> Any:
    try:
        return yaml.load(text, _FastLoader)
    except yaml.YAMLError:
        # The C library is not on every machine, and words faults otherwise: they shall read alike.
        return yaml.load(text, _Loader)


def typed(value: Any) -> Any:
    """The same values with text that YAML would read as a number, a truth value or null made that.

    For what comes from the command line: Snakemake hands on all that is nested as text.
    """
    if isinstance(value, dict):
        return {key: typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.load(value, _Loader)
    except yaml.YAMLError:
        return value
    return read if isinstance(read, int | float) or value in ("null", "~") else value
