"""Evaluation sets as files: examples that are drawn once, one a row.

Shape suffixes: B example, T token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from reinduce.config.job_specs import require
from reinduce.trace.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


class EvaluationSet:
    """The examples of one set; columns are read when they are first asked for."""

    def __init__(self, path: str | Path):
        """Args:
            path: the set's Parquet file.

        Raises:
            FileNotFoundError or ValueError: naming the file, if it is missing or damaged.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such evaluation set; `reinduce data` makes it")
        self._columns: dict[str, Any] = {}
        self._derived: dict[str, Any] = {}
        try:
            with pq.ParquetFile(self.path) as file:
                self.names = file.schema_arrow.names
        except ValueError as error:
            raise self._damaged(error) from None

    @cached_property
    def tokens(self) -> Tensor:
        """Token ids [B, T], int64."""
        return self.column("tokens")

    def __len__(self) -> int:
        return len(self.column("example"))

    def column(self, name: str) -> Any:
        """Return a column: a tensor with an entry an example (integers as int64), or a list of strings.

        Raises:
            ValueError: naming the file, if it has no such column or is damaged.
        """
        if name not in self._columns:
            try:
                require(name in self.names, f"has no column {name!r}")
                with pq.ParquetFile(self.path) as file:
                    self._columns[name] = _as_tensor(file.read(columns=[name])[name])
            except ValueError as error:
                raise self._damaged(error) from None
        return self._columns[name]

    def derive(self, name: str, build: Callable[[EvaluationSet], T]) -> T:
        """Return what `build` makes of this set; built once, under a name of its own."""
        if name not in self._derived:
            self._derived[name] = build(self)
        return self._derived[name]

    def _damaged(self, error: Exception) -> ValueError:
        return ValueError(f"{self.path}: not such an evaluation set ({error}); make it again with `reinduce data`")


def _as_tensor(column: pa.ChunkedArray) -> Any:
    kind = column.type.value_type if pa.types.is_list(column.type) else column.type
    if pa.types.is_string(kind):
        return column.to_pylist()
    dtypes = {pa.types.is_boolean: torch.bool, pa.types.is_floating: torch.float64}
    dtype = next((dtype for matches, dtype in dtypes.items() if matches(kind)), torch.int64)
    return torch.tensor(column.to_pylist(), dtype=dtype)


def read_set(folder: str | Path, name: str) -> EvaluationSet:
    """Return an evaluation set of a task's data folder.

    Raises:
        FileNotFoundError or ValueError: naming the file.
    """
    return EvaluationSet(Path(folder) / f"{name}.parquet")


def write_set(
    folder: Path, name: str, tokens_BT: Tensor | None, columns: Mapping[str, Tensor | Sequence[Any]] = {}
) -> Path:
    """Write an evaluation set, one example a row.

    Args:
        folder: the task's data folder.
        name: the set's name.
        tokens_BT: token ids [B, T]; None for a set that only annotates another one's examples.
        columns: further columns; an entry is a number, a list of numbers, a truth value or a string.

    Returns:
        The file.
    """
    arrays = {} if tokens_BT is None else {"tokens": _as_array(tokens_BT)}
    arrays |= {column: _as_array(values) for column, values in columns.items()}
    examples = len(next(iter(arrays.values())))
    path = folder / f"{name}.parquet"
    with atomic_write(path) as aside:
        table = pa.table({"example": pa.array(range(examples), type=pa.int32())} | arrays)
        pq.write_table(table, aside, compression="zstd")
    return path


def _as_array(values: Tensor | Sequence[Any]) -> pa.Array:
    if not isinstance(values, torch.Tensor):
        return pa.array(values)
    entry = pa.bool_() if values.dtype == torch.bool else pa.int32()
    return pa.array(values.tolist(), type=entry if values.ndim == 1 else pa.list_(entry))
