"""A claim's evidence: one SELECT over the tables that the claim reads, and over nothing else.

The tables are loaded first; then the database loses all access to files, network and
settings, and only then does it see the query.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from reinduce import tables
from reinduce.config.layout import RUN_TABLES, SERIES_TABLES, bound_reads, run_table_files, seed_folders, series_file
from reinduce.config.specs import ArmSpec, read_spec

READABLE = sorted({"scores", *RUN_TABLES, *SERIES_TABLES})
TARGETS = {"series_trajectories": "trajectories"}
"""What a query calls a table of `reads` that goes by another name there."""
WHOLE_NUMBERS = {"tinyint", "smallint", "integer", "bigint", "hugeint"}
NUMBERS = {*WHOLE_NUMBERS, "boolean", "float", "double", "decimal"}


def resolve(reads: Mapping[str, list[str]], study: str, bindings: Mapping) -> dict[str, list[str]]:
    """What a claim reads, with `$name` filled in and every arm or task as `study/name`.

    Raises ValueError for a table that there is not, or a name that is not bound to text.
    """
    for table in reads:
        if table not in READABLE:
            raise ValueError(f"reads: there is no table {table!r}; there are {', '.join(READABLE)}")
    return bound_reads(reads, study, bindings)


def arm_files(reads: Mapping[str, list[str]], results: Path) -> list[Path]:
    """Specifications of the arms that are read: their schedules say which files there are."""
    names = {name for table, names in reads.items() if table not in SERIES_TABLES for name in names}
    return [results / name / "train.json" for name in sorted(names)]


def files(reads: Mapping[str, list[str]], seeds: Mapping[str, list[int]], results: Path) -> dict[str, list[Path]]:
    """Table -> the files that hold its rows, for `reads` as `resolve` gives it and seeds {study/arm: which}.

    Files of seeds and checkpoints that the configuration no longer has are left alone.
    Raises FileNotFoundError naming a missing file and how to make it.
    """
    _require(arm_files(reads, results))
    found: dict[str, list[Path]] = {}
    for table, names in reads.items():
        for name in names:
            target = found.setdefault(TARGETS.get(table, table), [])
            if table in SERIES_TABLES:
                target.append(series_file(results, table, name))
            else:
                arm = read_spec(ArmSpec, results / name / "train.json")
                for folder in seed_folders(results, name, seeds[name]):
                    target += run_table_files(table, folder, arm)
    for paths in found.values():
        _require(paths)
    return found


def _require(paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more like it)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{others} is missing; make it with: snakemake --cores all {missing[0]}")


def measure(sql: str, bindings: Mapping, found: Mapping[str, list[Path]]) -> dict[int, float | None]:
    """Ask the query of the files `found`; seed -> value, ascending, None where it is null or not finite.

    Raises ValueError if the query fails or gives a seed twice or none.
    """
    statement = _select(sql)
    with _closed_database({table: tables.read_table(table, paths) for table, paths in found.items()}) as database:
        try:
            rows = database.execute(statement, _used(statement, bindings)).fetchall()
        except duckdb.Error as error:
            raise ValueError(f"evidence: {_first_line(error)}") from None
    seeds = [seed for seed, _ in rows]
    wrong = sorted({str(seed) for seed in seeds if seed is None or seeds.count(seed) > 1})
    if wrong:
        raise ValueError(f"evidence: each row needs a seed of its own; see seed {', '.join(wrong)}")
    return {seed: float(value) if value is not None and math.isfinite(value) else None for seed, value in sorted(rows)}


def check_query(sql: str, reads: Mapping[str, list[str]], bindings: Mapping) -> str | None:
    """What is wrong with a query, or None; it needs no results.

    The query is bound against empty tables of the declared schemas: unknown tables, columns and
    parameters, tables read but not declared (or declared but not read), columns other than seed, value.
    """
    try:
        statement = _select(sql)
        resolved = resolve(reads, "study", bindings)
    except ValueError as error:
        return str(error)
    mentioned = {name[1:] for names in reads.values() for name in names if name.startswith("$")}
    for difference, problem in (
        (statement.named_parameters - set(bindings), "not bound by `with`"),
        (set(bindings) - statement.named_parameters - mentioned, "bound by `with`, but not used"),
    ):
        if difference:
            return f"evidence: {', '.join(f'${name}' for name in sorted(difference))}: {problem}"
    declared = {TARGETS.get(table, table) for table in resolved}
    with _closed_database({table: tables.schema(table).empty_table() for table in sorted(declared)}) as database:
        try:
            description = database.execute(statement, _used(statement, bindings)).description
        except duckdb.Error as error:
            return f"evidence: {_first_line(error)} (`reads` allows: {', '.join(sorted(declared))})"
        unread = [table for table in sorted(declared) if _runs_without(table, database, statement, bindings)]
    if unread:
        return f"evidence: {', '.join(unread)}: declared under `reads`, but not read"
    names, kinds = [column[0] for column in description], [column[1].id for column in description]
    if names != ["seed", "value"]:
        return f"evidence: its columns must be seed, value, not {', '.join(names)}"
    if kinds[0] not in WHOLE_NUMBERS or kinds[1] not in NUMBERS:
        return f"evidence: seed must be a whole number and value a number, not {kinds[0]} and {kinds[1]}"
    return None


def check_claims(claims: Iterable[Mapping]) -> list[str]:
    """What is wrong with the queries of resolved claims and of their controls, a line each."""
    found = []
    for claim in claims:
        for who, bindings in (("", {}), (" (control)", claim["control"]["with"])):
            problem = check_query(claim["evidence"], claim["reads"], claim["with"] | bindings)
            if problem:
                found.append(f"{claim['study']}.{claim['claim']}{who}: {problem}")
    return found


def _runs_without(
    table: str, database: duckdb.DuckDBPyConnection, statement: duckdb.Statement, bindings: Mapping
) -> bool:
    """Whether a query can do without a table, so never reads it."""
    database.begin()
    try:
        database.execute(f'DROP TABLE "{table}"')
        database.execute(statement, _used(statement, bindings))
    except duckdb.CatalogException:
        return False
    finally:
        database.rollback()
    return True


def _select(sql: str) -> duckdb.Statement:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ValueError(f"evidence: {_first_line(error)}") from None
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise ValueError("evidence must be a single SELECT")
    return statements[0]


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _used(statement: duckdb.Statement, bindings: Mapping) -> dict:
    return {name: bindings[name] for name in statement.named_parameters}


def _closed_database(contents: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """A database in memory that holds these tables and can reach nothing else."""
    # One thread: sums are then taken in the same order every time.
    database = duckdb.connect(":memory:", config={"threads": 1})
    for table, rows in contents.items():
        database.register("arriving", rows)
        database.execute(f'CREATE TABLE "{table}" AS SELECT * FROM arriving')
        database.unregister("arriving")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database
