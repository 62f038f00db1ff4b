"""A claim's evidence: one SELECT over the tables that the claim reads, with a value for each seed."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.config.layout import (
    TABLES,
    bound_reads,
    run_table_files,
    schema_name,
    seed_folders,
)
from reinduce.judge.query import Bindings, first_line, open_database, parse_query, run_query

MAX_LISTED = 8
"""The most seeds that a message lists."""

Reads = Mapping[str, list[str]]
"""Table → arms."""


def resolve_reads(reads: Reads, study: str, bindings: Bindings) -> dict[str, list[str]]:
    """Fill in the names that a claim reads.

    Args:
        reads: As claims.yaml has it; `$name` stands for a bound name.
        study: The claim's study.
        bindings: The claim's parameters.

    Returns:
        Table → 'study/arm'.

    Raises:
        ValueError: There is no such table, or a name is not bound to text.
    """
    for table in reads:
        if table not in TABLES:
            raise ValueError(f"reads: there is no table {table!r}; the tables are {', '.join(sorted(TABLES))}")
    return bound_reads(reads, study, bindings)


def list_arm_files(reads: Reads, results: Path) -> list[Path]:
    """List the specifications of the arms that are read; their schedules determine which files exist.

    Args:
        reads: As `resolve_reads` returns it.
        results: Folder of results.

    Returns:
        A file for each arm, sorted.
    """
    names = {name for names in reads.values() for name in names}
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
            paths = found.setdefault(schema_name(table), [])
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
    counts = Counter(seed for seed, _ in rows)
    wrong = sorted(str(seed) for seed, count in counts.items() if seed is None or count > 1)
    if wrong:
        more = f" and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
        raise ValueError(f"evidence: each row needs a seed of its own; see seed {', '.join(wrong[:MAX_LISTED])}{more}")
    return {seed: float(value) if value is not None and math.isfinite(value) else None for seed, value in sorted(rows)}


def _require_files(paths: list[Path]) -> None:
    """Raise FileNotFoundError for the first of these files that is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f" (and {len(missing) - 1} more like it)" if len(missing) > 1 else ""
        raise FileNotFoundError(f"{missing[0]}{others} is missing; make it with: snakemake --cores all {missing[0]}")
