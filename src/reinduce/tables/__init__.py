"""The tables that stages hand to each other: declared schemas, and reading and writing them as Parquet files."""

from reinduce.tables.files import read_table, rows_writer, write_rows
from reinduce.tables.schemas import SCHEMAS, Column, schema

__all__ = ["SCHEMAS", "Column", "read_table", "rows_writer", "schema", "write_rows"]
