"""A claim's evidence: one SELECT over the tables that the claim reads, with a value for each seed."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.config.layout import RUN_TABLES, SERIES_TABLES, bound_reads, run_table_files, seed_folders, series_file
from reinduce.judge.query import Bindings, Query, first_line, open_database, parse_query, run_query

READABLE_TABLES = sorted({"scores", *RUN_TABLES, *SERIES_TABLES})
"""What `reads` may name."""
QUERY_NAMES = {"series_trajectories": "trajectories"}
"""Table of `reads` → its name in queries, where that differs."""
INTEGER_TYPES = {"tinyint", "smallint", "integer", "bigint", "hugeint"}
NUMBER_TYPES = {*INTEGER_TYPES, "boolean", "float", "double", "decimal"}

Reads = Mapping[str, list[str]]
"""Table → arms, or tasks for tables of a whole task."""


def resolve_reads(reads: Reads, study: str, bindings: Bindings) -> dict[str, list[str]]:
    """Fill in the names that a claim reads.

    Args:
        reads: As claims.yaml has it; `$name` stands for a bound name.
        study: The claim's study.
        bindings: The claim's parameters.

    Returns:
        Table → 'study/arm', or 'study/task' for tables of a whole task.

    Raises:
        ValueError: There is no such table, or a name is not bound to text.
    """
    for table in reads:
        if table not in READABLE_TABLES:
            raise ValueError(f"reads: there is no table {table!r}; the tables are {', '.join(READABLE_TABLES)}")
    return bound_reads(reads, study, bindings)


def list_arm_files(reads: Reads, results: Path) -> list[Path]:
    """List the specifications of the arms that are read; their schedules determine which files exist.

    Args:
        reads: As `resolve_reads` returns it.
        results: Folder of results.

    Returns:
        A file for each arm, sorted.
    """
    names = {name for table, names in reads.items() if table not in SERIES_TABLES for name in names}
    return [results / name / "train.json" for name in sorted(names)]


def list_table_files(reads: Reads, seeds: Mapping[str, Iterable[int]], results: Path) -> dict[str, list[Path]]:
    """List the files that hold the rows of the tables that are read.

    Files of seeds and checkpoints that the configuration no longer has are left out.

    Args:
        reads: As `resolve_reads` returns it.
        seeds: 'study/arm' → its seeds.
        results: Folder of results.

    Returns:
        Table, by its name in queries → files.

    Raises:
        FileNotFoundError: A file is missing; the message names the command that makes it.
    """
    _require_files(list_arm_files(reads, results))
    found: dict[str, list[Path]] = {}
    for table, names in reads.items():
        for name in names:
            paths = found.setdefault(QUERY_NAMES.get(table, table), [])
            if table in SERIES_TABLES:
                paths.append(series_file(results, table, name))
            else:
                arm = read_spec(ArmSpec, results / name / "train.json")
                for folder in seed_folders(results, name, seeds[name]):
                    paths += run_table_files(table, folder, arm)
    for paths in found.values():
        _require_files(paths)
    return found


def run_evidence_query(sql: str, bindings: Bindings, files: Mapping[str, list[Path]]) -> dict[int, float | None]:
    """Run a claim's query.

    Args:
        sql: One SELECT with the columns seed and value.
        bindings: The query's parameters.
        files: Table → its files, as `list_table_files` returns them.

    Returns:
        Seed → value, ascending; None where the value is null or not finite.

    Raises:
        ValueError: The query fails, or a row's seed is null or repeated.
    """
    query = parse_query(sql)
    contents = {table: tables.read_table(table, paths) for table, paths in files.items()}
    with open_database(contents) as database:
        try:
            rows = run_query(database, query, bindings)
        except duckdb.Error as error:
            raise ValueError(f"evidence: {first_line(error)}") from None
    seeds = [seed for seed, _ in rows]
    wrong = sorted({str(seed) for seed in seeds if seed is None or seeds.count(seed) > 1})
    if wrong:
        raise ValueError(f"evidence: each row needs a seed of its own; see seed {', '.join(wrong)}")
    return {seed: float(value) if value is not None and math.isfinite(value) else None for seed, value in sorted(rows)}


def check_query(sql: str, reads: Reads, bindings: Bindings) -> str | None:
    """Check a query without results, against empty tables of the declared schemas.

    Args:
        sql: The query.
        reads: The tables that the claim declares, as claims.yaml has them.
        bindings: The claim's parameters.

    Returns:
        What is wrong, in one line: an unknown table, column or parameter, a table that is read but not declared or
        declared but not read, or columns other than seed and value. None if nothing is wrong.
    """
    try:
        query = parse_query(sql)
        resolved = resolve_reads(reads, "study", bindings)
    except ValueError as error:
        return str(error)
    in_reads = {name[1:] for names in reads.values() for name in names if name.startswith("$")}
    for difference, problem in (
        (query.parameters - set(bindings), "not bound by `with`"),
        (set(bindings) - query.parameters - in_reads, "bound by `with`, but not used"),
    ):
        if difference:
            return f"evidence: {', '.join(f'${name}' for name in sorted(difference))}: {problem}"
    declared = sorted({QUERY_NAMES.get(table, table) for table in resolved})
    with open_database({table: tables.schema(table).empty_table() for table in declared}) as database:
        try:
            run_query(database, query, bindings)
            description = database.description
        except ValueError as error:
            return str(error)
        except duckdb.Error as error:
            return f"evidence: {first_line(error)} (`reads` allows: {', '.join(declared)})"
        unread = [table for table in declared if _runs_without(table, database, query, bindings)]
    if unread:
        return f"evidence: {', '.join(unread)}: declared under `reads`, but not read"
    return _check_columns(description)


def check_claims(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """Check the queries of claims and of their controls, without results.

    Args:
        claims: Resolved claims.

    Returns:
        A line for each query that is wrong.
    """
    problems = []
    for claim in claims:
        for label, bindings in (("", {}), (" (control)", claim["control"]["with"])):
            problem = check_query(claim["evidence"], claim["reads"], claim["with"] | bindings)
            if problem:
                problems.append(f"{claim['study']}.{claim['claim']}{label}: {problem}")
    return problems


def _require_files(paths: list[Path]) -> None:
    """Raise FileNotFoundError for the first of these files that is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more like it)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{others} is missing; make it with: snakemake --cores all {missing[0]}")


def _check_columns(description: Iterable[tuple[Any, ...]]) -> str | None:
    """What is wrong with the columns of a query's result; None if nothing is."""
    columns = [(column[0], column[1].id) for column in description]
    names, types = [name for name, _ in columns], [kind for _, kind in columns]
    if names != ["seed", "value"]:
        return f"evidence: its columns must be seed, value, not {', '.join(names)}"
    if types[0] not in INTEGER_TYPES or types[1] not in NUMBER_TYPES:
        return f"evidence: seed must be a whole number and value a number, not {types[0]} and {types[1]}"
    return None


def _runs_without(table: str, database: duckdb.DuckDBPyConnection, query: Query, bindings: Bindings) -> bool:
    """True if a query also runs after a table is dropped, so never reads it."""
    database.begin()
    try:
        database.execute(f'DROP TABLE "{table}"')
        run_query(database, query, bindings)
    except duckdb.CatalogException:
        return False
    finally:
        database.rollback()
    return True
