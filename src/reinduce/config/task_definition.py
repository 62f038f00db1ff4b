"""What a task is: a typed specification, a training stream, and evaluation sets that are drawn once.

A task is declared by a subclass of `TaskDefinition` (see `config.declare.task`), in the library
(`reinduce.tasks`) or in a study. Its module imports no torch while it is imported, so that a
configuration is resolved quickly; its methods may use torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from reinduce.config.declare import qualify
from reinduce.config.find import find
from reinduce.config.job_specs import from_dict, require, stream_seed

if TYPE_CHECKING:
    from torch import Tensor


class TrainingStream(Protocol):
    """The training sequences of a replicate."""

    vectors: Tensor | None
    """The vectors [N F] that token ids from `vocab_size` on stand for, those that training shows; None: no such ids."""

    def batch(self, step: int, n: int) -> Tensor:
        """Return the tokens [n, n_ctx] (int64) of a step, or [n, n_ctx + 1] where the last alone is predicted.

        A batch depends on seed, step and n alone, never on earlier calls: a resumed run sees what an
        uninterrupted one would have seen.
        """
        ...


class TaskDefinition:
    """A distribution of sequences and the evaluation sets drawn from it.

    Subclasses set the class attributes and write the methods that raise NotImplementedError here.
    """

    name: ClassVar[str]
    owner: ClassVar[str]
    module: ClassVar[str]
    Spec: ClassVar[type]
    """A frozen dataclass that describes the distribution; it has `vocab_size` and `n_ctx`."""
    Sizes: ClassVar[type]
    """A frozen dataclass that says how large the evaluation sets are."""
    evaluation_sets: ClassVar[tuple[str, ...]]
    """Names of the sets; each is a Parquet file of its name in the task's data folder."""
    data_files: ClassVar[tuple[str, ...]] = ()
    """Further files in the data folder."""
    training_files: ClassVar[tuple[str, ...]] = ()
    """Those of `data_files` that a training reads."""
    stream_name: ClassVar[str]
    """The word that names the task's random streams. It is part of every result, so it never changes."""

    def __init__(self, spec: Any, sizes: Any):
        """Args:
            spec: an instance of `Spec`.
            sizes: an instance of `Sizes`.

        Raises:
            ValueError: if the two do not fit each other.
        """
        self.spec, self.sizes = spec, sizes
        self.check()

    def check(self) -> None:
        """Raise ValueError if sequences of this specification cannot fill the evaluation sets."""

    def model_fields(self) -> dict[str, Any]:
        """Return the fields of a model's specification that the task decides."""
        return {"vocab_size": self.spec.vocab_size, "n_ctx": self.spec.n_ctx}

    def set_sizes(self) -> dict[str, int]:
        """Return how many examples each evaluation set holds."""
        raise NotImplementedError

    def user_files(self) -> list[Path]:
        """Return the user's own files that the data are made from."""
        return []

    def packages(self) -> list[str]:
        """Return the installed packages that the data are made from or with; another version makes other data."""
        return []

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write every file of the data folder.

        Returns:
            Facts for the manifest.

        Raises:
            ValueError or FileNotFoundError: if what the data are made from cannot be used.
        """
        raise NotImplementedError

    def training_stream(self, folder: Path, seed: int) -> TrainingStream:
        """Return the training sequences of a replicate; `folder` is the task's data folder."""
        raise NotImplementedError

    def read_vectors(self, folder: Path) -> Tensor | None:
        """Return the vectors [N F] that token ids from `vocab_size` on stand for, or None if there are no such ids."""
        return None

    def set_seed(self, name: str) -> int:
        """Return the seed of an evaluation set; no training stream has one that begins with 'evaluation'."""
        return stream_seed("evaluation", self.stream_name, name)

    @classmethod
    def qualified_name(cls) -> str:
        """Return the name by which `task.json` knows the task."""
        return qualify(cls.name, cls.owner)

    @classmethod
    def file_names(cls) -> list[str]:
        """Return the names of all files in the data folder that `write_data` makes."""
        return [*(f"{name}.parquet" for name in cls.evaluation_sets), *cls.data_files]

    def content(self) -> dict[str, Any]:
        """Return the content of `task.json`."""
        parts = {"spec": dataclasses.asdict(self.spec), "evaluation": dataclasses.asdict(self.sizes)}
        return {"task": self.qualified_name()} | parts


def read_task(path: str | Path) -> TaskDefinition:
    """Read a task.json: {"task": name, "spec": {...}, "evaluation": {...}}.

    Raises:
        FileNotFoundError or ValueError: naming the file and what is wrong in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such task; `reinduce data` writes one into each data folder")
    try:
        return build_task(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def build_task(content: Mapping[str, Any]) -> TaskDefinition:
    """Build a task from the content of a task.json.

    Raises:
        ValueError: for an unknown task, or naming the missing, unknown or wrong key.
    """
    expected = {"task", "spec", "evaluation"}
    require(set(content) == expected, f"a task has {', '.join(sorted(expected))}, not {', '.join(sorted(content))}")
    definition: type[TaskDefinition] = find("task", content["task"])
    return definition(from_dict(definition.Spec, content["spec"]), from_dict(definition.Sizes, content["evaluation"]))
