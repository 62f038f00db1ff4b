"""Run one SELECT over given tables, and over nothing else, within limits of time and memory.

The tables are loaded first; then the database loses all access to files, network and settings, and only then does it
run the query. A query may use functions that always give the same result for the same rows, and no others: evidence
must come out again.
"""

import json
import os
import resource
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

SECONDS = 60.0
"""The longest time that a query may take. Those of the studies take less than one second."""
MEGABYTES = 1000
"""The memory that a query may take beside its tables."""
GRACE_SECONDS = 10.0
"""How long after SECONDS a query may go on that does not heed the database's interruption; then the process ends."""

TABLE_FUNCTIONS = {"unnest", "range", "generate_series"}
"""Functions in FROM that make rows of their arguments; others read files, settings or the catalogue."""
MACROS = {"nullif", "if", "fdiv", "fmod", "geomean", "geometric_mean", "wavg", "weighted_avg", "split_part"}
"""Functions that the database defines by other functions, and that depend on their arguments alone; so do those of
lists."""
ENVIRONMENT = {"version", "getenv", "reservoir_quantile", "age", "current_localtime", "current_localtimestamp"}
"""Functions that the database calls consistent, but that depend on the machine, the clock or on chance."""
CATALOGUE = ("duckdb_", "pg_", "sqlite_", "pragma_")
"""How the names of the database's own tables begin."""
EQUALITY = {"COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM"}
"""Comparisons that name one value of a column."""
NAMES_OF_THE_MOMENT = {
    *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
    *("user", "current_user", "session_user", "current_role", "current_catalog", "current_schema", "current_database"),
}
"""Names that the database takes for functions where no column has them."""

Bindings = Mapping[str, Any]
"""Name of a query's parameter → its value."""


@dataclass(frozen=True)
class Query:
    """One SELECT that was parsed and found repeatable."""

    statement: duckdb.Statement
    parameters: frozenset[str]
    """Names of its parameters."""
    compared: tuple[tuple[str, str], ...]
    """Column, and a text or `$parameter` that it is compared with, for columns of the tables that are read."""
    texts: frozenset[str]
    """Every text that it contains."""
    tables: frozenset[str]
    """Names of the tables that it reads."""

    def select_bindings(self, bindings: Bindings) -> dict[str, Any]:
        """Select the bindings that the query uses; the database refuses further ones.

        Args:
            bindings: Name → value.

        Returns:
            Those of the query's parameters.
        """
        return {name: bindings[name] for name in self.parameters}


def parse_query(sql: str) -> Query:
    """Parse one SELECT.

    Args:
        sql: Its text.

    Returns:
        The query.

    Raises:
        ValueError: The text is not one plain SELECT, or uses what need not come out the same again.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ValueError(f"evidence: {first_line(error)}") from None
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise ValueError("evidence must be a single SELECT")
    (text,) = _empty_database().execute("SELECT json_serialize_sql(?)", [statements[0].query]).fetchall()[0]
    tree = json.loads(text)
    if tree["error"]:
        raise ValueError(f"evidence must be a plain SELECT: {tree['error_message']}")
    problem = next(_find_problems(tree), None)
    if problem:
        raise ValueError(f"evidence: {problem}")
    made = set(_find_made_columns(tree))
    compared = [(column, value) for column, value in _find_compared(tree) if column not in made]
    return Query(
        statements[0],
        frozenset(statements[0].named_parameters),
        tuple(dict.fromkeys(compared)),
        frozenset(text for node in _walk(tree) for text in _texts([node])),
        frozenset(_find_tables(tree)),
    )


@contextmanager
def open_database(contents: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that holds some tables and has no access to anything else.

    Args:
        contents: Table → its rows.

    Yields:
        The database; it is closed afterwards.
    """
    # With one thread, sums are always taken in the same order. Without a folder for them, nothing moves to the disk.
    memory = f"{MEGABYTES + _megabytes(contents)}MB"
    config: dict[str, Any] = {"threads": 1, "memory_limit": memory, "temp_directory": ""}
    with duckdb.connect(":memory:", config=config) as database:
        for table, rows in contents.items():
            database.register("arriving", rows)
            database.execute(f'CREATE TABLE "{table}" AS SELECT * FROM arriving')
            database.unregister("arriving")
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        yield database


def run_query(database: duckdb.DuckDBPyConnection, query: Query, bindings: Bindings) -> list[tuple[Any, ...]]:
    """Run a query within the limits.

    Args:
        database: As `open_database` gives it.
        query: The query.
        bindings: Name of a parameter → its value; further ones are ignored.

    Returns:
        Its rows.

    Raises:
        ValueError: The query takes more time or memory than it may.
        duckdb.Error: The query fails.
    """
    limits = threading.Timer(SECONDS, database.interrupt), threading.Timer(SECONDS + GRACE_SECONDS, _end_process)
    for limit in limits:
        limit.daemon = True
        limit.start()
    try:
        with _limit_memory():
            return database.execute(query.statement, query.select_bindings(bindings)).fetchall()
    except duckdb.InterruptException:
        raise ValueError(_TOO_LONG) from None
    except (duckdb.OutOfMemoryException, MemoryError):
        raise ValueError(_TOO_LARGE) from None
    except duckdb.Error as error:
        # What the database could not allocate itself reaches it as a failure without a kind.
        if "bad_alloc" in str(error) or "bad allocation" in str(error):
            raise ValueError(_TOO_LARGE) from None
        raise
    finally:
        for limit in limits:
            limit.cancel()


def first_line(error: duckdb.Error) -> str:
    """Shorten an error of the database.

    Args:
        error: The error.

    Returns:
        The first line of its message.
    """
    return str(error).splitlines()[0]


_TOO_LONG = f"evidence: the query was stopped after {SECONDS:g} s; it must not make rows without end"
_TOO_LARGE = f"evidence: the query needs more than {MEGABYTES} MB beside its tables"


def _end_process() -> None:
    """End this process, since its query cannot be interrupted; nothing was written yet."""
    sys.stderr.write(f"error: {_TOO_LONG} (it could not be interrupted)\n")
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def _limit_memory() -> Iterator[None]:
    """Limit the memory of this process to what it has now and MEGABYTES more, where the system can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = _address_space()
    if used is not None:
        limit = used + MEGABYTES * 10**6
        limit = limit if soft == resource.RLIM_INFINITY else min(limit, soft)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int | None:
    """Bytes of address space that this process has; None where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def _megabytes(contents: Mapping[str, pa.Table]) -> int:
    return sum(rows.nbytes for rows in contents.values()) * 2 // 10**6


@cache
def _empty_database() -> duckdb.DuckDBPyConnection:
    """A database for what the database knows of SQL itself."""
    return duckdb.connect(":memory:", config={"threads": 1})


@cache
def _repeatable_functions() -> frozenset[str]:
    """Names of functions that depend on their arguments alone."""
    functions = """
        SELECT function_name, bool_and(stability = 'CONSISTENT' OR function_type = 'macro') FROM duckdb_functions()
        WHERE function_type IN ('scalar', 'aggregate', 'window')
           OR (function_type = 'macro' AND regexp_matches(function_name, '^(list|array)_'))
        GROUP BY function_name"""
    rows = _empty_database().execute(functions).fetchall()
    return frozenset({name for name, is_consistent in rows if is_consistent} | MACROS | {"count_star"}) - ENVIRONMENT


def _find_problems(node: Any) -> Iterator[str]:
    """Everything in a parsed query that need not come out the same again."""
    if isinstance(node, list):
        for part in node:
            yield from _find_problems(part)
    if not isinstance(node, dict):
        return
    kind, name = node.get("type"), str(node.get("function_name", "")).lower()
    if node.get("sample"):
        yield "a sample of rows is another one each time"
    if kind == "TABLE_FUNCTION":
        function = node["function"].get("function_name", "").lower()
        if function not in TABLE_FUNCTIONS:
            yield f"{function}() in FROM: only declared tables and {', '.join(sorted(TABLE_FUNCTIONS))} may be read"
        yield from _find_problems(node["function"].get("children", []))
        yield from _find_problems({key: value for key, value in node.items() if key not in ("type", "function")})
        return
    if kind == "SHOW_REF" or (kind == "BASE_TABLE" and (node.get("schema_name") or node.get("catalog_name"))):
        yield "only the tables declared under `reads` may be read, by their plain names"
    if kind == "BASE_TABLE" and node["table_name"].lower().startswith(CATALOGUE):
        yield f"there is no table {node['table_name']}; only the tables declared under `reads` may be read"
    if name and name not in _repeatable_functions() and name != "unnest":
        yield f"{name}() need not give the same value again; only functions of their arguments alone may be used"
    columns = node.get("column_names")
    if kind == "COLUMN_REF" and len(columns or []) == 1 and columns[0].lower() in NAMES_OF_THE_MOMENT:
        yield f"{columns[0]} is not the same in each run"
    for part in node.values():
        yield from _find_problems(part)


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every node of a parsed query that has parts."""
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walk(part)


def _find_compared(tree: Any) -> Iterator[tuple[str, str]]:
    """Columns that are compared with texts or parameters, for equality or as members of a list."""
    for node in _walk(tree):
        if node.get("class") == "COMPARISON" and node["type"] in EQUALITY:
            sides = [node["left"], node["right"]]
        elif node.get("type") in ("COMPARE_IN", "COMPARE_NOT_IN"):
            sides = node["children"]
        else:
            continue
        sides = [_without_casts(side) for side in sides]
        columns = [side["column_names"][-1].lower() for side in sides if side.get("class") == "COLUMN_REF"]
        texts = _texts(sides)
        texts += [f"${side['identifier']}" for side in sides if side.get("class") == "PARAMETER"]
        yield from ((column, text) for column in columns for text in texts)


def _texts(nodes: Iterable[dict[str, Any]]) -> list[str]:
    """The texts among some expressions."""
    literals = (node.get("literal") for node in nodes)
    return [one["text"] for one in literals if isinstance(one, dict) and one.get("kind") == "STRING"]


def _without_casts(node: dict[str, Any]) -> dict[str, Any]:
    """An expression of which casts are taken off."""
    while node.get("class") == "CAST":
        node = node["child"]
    return node


def _find_tables(tree: Any) -> Iterator[str]:
    """Tables that are read, without those that the query makes itself."""
    own = {entry["key"].lower() for node in _walk(tree) for entry in (node.get("cte_map") or {}).get("map", [])}
    read = (node["table_name"].lower() for node in _walk(tree) if node.get("type") == "BASE_TABLE")
    yield from (name for name in read if name not in own)


def _find_made_columns(tree: Any) -> Iterator[str]:
    """Names that the query gives to columns of its own."""
    for node in _walk(tree):
        names = [*(node.get("column_name_alias") or []), *(node.get("aliases") or [])]
        if node.get("alias") and node.get("column_names", [""])[-1].lower() != node["alias"].lower():
            names.append(node["alias"])
        yield from (str(name).lower() for name in names)
