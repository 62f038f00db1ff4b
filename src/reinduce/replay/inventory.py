"""A summary of a folder of results: digests of all files, means of all measured values.

A reference is an inventory beside a ledger: small enough for the repository, and sufficient to
compare another run with.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reinduce import tables
from reinduce.config import layout
from reinduce.config.resolved import Resolved
from reinduce.trace.files import sha256, write_text
from reinduce.trace.tree import common_name

INVENTORY = "inventory.json"
LEDGER = "ledger.json"
MEASURED_COLUMNS = ("value", "baseline", "loss", "gradient_norm")
"""Columns of tables whose means are computed, separately for each metric where a table has metrics."""
DIGITS = 9
"""Significant digits of a mean in a reference."""


@dataclass(frozen=True)
class Group:
    """Files of one kind, for example one table of all seeds and steps."""

    kind: str
    """data, weights, table or page."""
    files: int
    digest: str
    """Sixteen hexadecimal digits over the names and contents of all files."""
    means: Mapping[str, float] = field(default_factory=dict)
    """For tables: 'column of metric' → its mean over all rows that have one."""
    hashes: Mapping[str, str] | None = field(default=None, compare=False)
    """File → its SHA-256; None in a reference, which does not store them."""


@dataclass(frozen=True)
class Inventory:
    """A summary of a folder of results."""

    scale: str
    seeds: Mapping[str, list[int]]
    """'study/arm' → its seeds at the first look."""
    groups: Mapping[str, Group]
    """Common name below the folder → its files."""
    claims: list[dict[str, Any]]
    """The rows of the ledger, of the claims that have been judged."""


def build_inventory(resolved: Resolved, root: Path = Path()) -> Inventory:
    """Build the inventory of the files that a configuration asks for and that exist.

    Args:
        resolved: The configuration.
        root: The project's folder.

    Returns:
        The inventory, with the hashes of single files.

    Raises:
        ValueError: A table does not have the declared columns.
    """
    results = root / resolved.results
    claims = _read_claims(resolved, results)
    found: dict[str, list[tuple[str, str | None, Path]]] = {}
    for kind, table, path in _list_files(resolved, results, _find_seeds(resolved, claims)):
        if path.is_file():
            found.setdefault(common_name(path.relative_to(results).as_posix()), []).append((kind, table, path))
    groups = {name: _summarise_group(members, results) for name, members in sorted(found.items())}
    return Inventory(
        scale=resolved.config.scale,
        seeds={name: list(run.seeds) for name, run in resolved.runs.items()},
        groups=groups,
        claims=claims,
    )


def write_reference(inventory: Inventory, folder: Path, ledger: Path) -> list[Path]:
    """Write a reference: an inventory without the hashes of single files, and a copy of the ledger.

    Args:
        inventory: A summary of a run.
        folder: Where the reference goes.
        ledger: The run's ledger.json.

    Returns:
        The files written.

    Raises:
        OSError: The ledger cannot be read, or the reference cannot be written.
    """
    groups = {name: _to_json_values(group) for name, group in inventory.groups.items()}
    content = {"scale": inventory.scale, "seeds": inventory.seeds, "groups": groups}
    return [
        write_text(folder / INVENTORY, json.dumps(content, indent=1, sort_keys=True) + "\n"),
        write_text(folder / LEDGER, ledger.read_text()),
    ]


def read_reference(folder: Path) -> Inventory:
    """Read a reference.

    Args:
        folder: Where it is.

    Returns:
        Its inventory, without the hashes of single files.

    Raises:
        ValueError: A file is not that of a reference.
        FileNotFoundError: A file is missing.
    """
    try:
        content = json.loads((folder / INVENTORY).read_text())
        claims = json.loads((folder / LEDGER).read_text())["claims"]
        groups = {name: Group(**group) for name, group in content["groups"].items()}
        return Inventory(content["scale"], content["seeds"], groups, claims)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not a reference ({error}); write it with: reinduce reference") from None


def _read_claims(resolved: Resolved, results: Path) -> list[dict[str, Any]]:
    """The verdicts of the claims that have been judged; with the ledger's words where it was made from them."""
    files = [results / "claims" / f"{name}.json" for name in resolved.claims]
    judged = [json.loads(path.read_text()) for path in files if path.is_file()]
    ledger = json.loads((results / LEDGER).read_text())["claims"] if (results / LEDGER).is_file() else []
    # In the ledger a claim has the same looks, but its word may be that of its whole family.
    known = {(row["study"], row["claim"]): row for row in ledger}
    rows = [(row, known.get((row["study"], row["claim"]), row)) for row in judged]
    return [joined if joined["looks"] == row["looks"] else row for row, joined in rows]


def _find_seeds(resolved: Resolved, claims: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """'study/arm' → the seeds of the first look, and those of all looks that were taken at claims."""
    found = {name: set(run.seeds) for name, run in resolved.runs.items()}
    for row in claims:
        looks = resolved.claims[f"{row['study']}.{row['claim']}"]["looks"]
        for name, seeds in looks[: len(row["looks"])][-1].items():
            found[name].update(seeds)
    return {name: sorted(seeds) for name, seeds in found.items()}


def _list_files(
    resolved: Resolved, results: Path, seeds: Mapping[str, Iterable[int]]
) -> Iterator[tuple[str, str | None, Path]]:
    """Kind, table (None for other files) and path of every file that a configuration asks for."""
    for name, task in resolved.tasks.items():
        yield from (("data", None, path) for path in layout.data_files(results, name, task))
    for name, run in resolved.runs.items():
        for folder in layout.seed_folders(results, name, seeds[name]):
            yield from (("weights", None, path) for path in layout.checkpoint_files(folder, run.arm))
            for table in layout.TABLES:
                if run.unavailable_reason(table) is None:
                    paths = layout.run_table_files(table, folder, run.arm)
                    yield from (("table", layout.schema_name(table), path) for path in paths)
    for key, study in resolved.studies.items():
        for figure in study.figures:
            yield from (("page", None, results / f"figures/{key}.{figure}{end}") for end in (".ipynb", ".html"))
    yield from (("page", None, results / name) for name in ("ledger.parquet", LEDGER, "index.html", "seeds.html"))


def _summarise_group(members: list[tuple[str, str | None, Path]], results: Path) -> Group:
    kind, table, _ = members[0]
    hashes = {path.relative_to(results).as_posix(): sha256(path) for _, _, path in members}
    lines = "".join(f"{digest} {name}\n" for name, digest in sorted(hashes.items()))
    return Group(
        kind=kind,
        files=len(members),
        digest=hashlib.sha256(lines.encode()).hexdigest()[:16],
        means=compute_means(tables.read_table(table, [path for _, _, path in members])) if table else {},
        hashes=hashes,
    )


def compute_means(rows: pa.Table) -> dict[str, float]:
    """Compute the means of a table's measured values.

    Args:
        rows: A table.

    Returns:
        'column of metric', or the column alone in tables without metrics → mean over all rows with a finite value.
    """
    found = {}
    for column in MEASURED_COLUMNS:
        if column not in rows.column_names:
            continue
        finite = rows.filter(pc.is_finite(rows[column]))
        if "metric" not in rows.column_names:
            if len(finite):
                found[column] = pc.mean(finite[column]).as_py()
            continue
        averaged = finite.group_by("metric").aggregate([(column, "mean")])
        for metric, mean in zip(*(averaged[name].to_pylist() for name in ("metric", f"{column}_mean")), strict=True):
            found[f"{column} of {metric}"] = mean
    return dict(sorted(found.items()))


def _to_json_values(group: Group) -> dict[str, Any]:
    """A group as a reference stores it."""
    shown = {name: float(f"{mean:.{DIGITS}g}") for name, mean in group.means.items()}
    return {"kind": group.kind, "files": group.files, "digest": group.digest} | ({"means": shown} if shown else {})
