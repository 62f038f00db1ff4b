"""Tables as Parquet files.

Every table is written sorted, with fixed types, and without anything volatile, so that equal runs are equal files.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reinduce.tables.schemas import schema
from reinduce.trace.files import atomic_write

MEASURED = {"value", "baseline", "loss", "n_items", "gradient_norm", "learning_rate"}
"""Columns that are no keys: rows are not sorted by them."""


def write_rows(table: str, rows: Iterable[Mapping[str, Any]], path: str | Path, keep_order: bool = False) -> Path:
    """Write rows as Parquet under the table's schema, sorted by every key column.

    Args:
        table: the table's name.
        rows: mappings from columns to values; missing columns are null.
        path: the file.
        keep_order: whether rows stay in the order given.

    Returns:
        The file.

    Raises:
        ValueError: for a column that the table does not have.
    """
    with atomic_write(path) as aside:
        pq.write_table(_as_table(table, rows, path, keep_order), aside, compression="zstd")
    return Path(path)


@contextlib.contextmanager
def rows_writer(table: str, path: str | Path) -> Iterator[Callable[[Iterable[Mapping[str, Any]]], None]]:
    """Give a function that adds rows to a Parquet file, sorted within each call, for tables that do not fit in memory.

    Call it in the order of the key columns; the file is in place once the block ends without an error.
    """
    with atomic_write(path) as aside, pq.ParquetWriter(aside, schema(table), compression="zstd") as file:
        yield lambda rows: file.write_table(_as_table(table, rows, path))


def _as_table(table: str, rows: Iterable[Mapping[str, Any]], path: str | Path, keep_order: bool = False) -> pa.Table:
    declared = schema(table)
    rows = list(rows)
    unknown = {key for row in rows for key in row} - set(declared.names)
    if unknown:
        raise ValueError(f"{path}: table {table!r} has no column {', '.join(sorted(unknown))}")
    columns = {f.name: pa.array([row.get(f.name) for row in rows], type=f.type) for f in declared}
    made = pa.table(columns, schema=declared)
    return made if keep_order else made.sort_by([(n, "ascending") for n in declared.names if n not in MEASURED])


def read_table(table: str, paths: Iterable[str | Path], columns: list[str] | None = None) -> pa.Table:
    """Return all rows of one table's files, in the order given.

    Args:
        table: the table's name.
        paths: its files.
        columns: which columns to read; None: all.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: naming a file whose columns are not the declared ones.
    """
    declared = schema(table)
    parts = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(declared):
                raise ValueError(f"{path}: its columns are not those of table {table!r}; make it again")
            parts.append(file.read(columns=columns))
    if not parts:
        return declared.empty_table() if columns is None else declared.empty_table().select(columns)
    return pa.concat_tables(parts)
