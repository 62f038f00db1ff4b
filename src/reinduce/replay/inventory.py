"""What a folder of results holds, in little: digests of all that was made, means of all that was measured.

A reference is such an inventory beside a ledger: small enough for the repository, and all
that another run is compared with.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reinduce import tables
from reinduce.config import layout
from reinduce.config.resolved import Resolved
from reinduce.trace.files import sha256, write_text
from reinduce.trace.tree import common_name

INVENTORY = "inventory.json"
LEDGER = "ledger.json"
MEASURED = ("value", "baseline", "loss", "gradient_norm")
"""Columns of tables whose means are taken, of each metric for itself where there are several."""

DIGITS = 9
"""So many digits of a mean are kept in a reference."""


@dataclass(frozen=True)
class Group:
    """Files of one kind: all seeds' and all steps' of one table, say."""

    kind: str
    """data, weights, table or page."""
    files: int
    digest: str
    """Sixteen hexadecimal digits over the names and contents of all."""
    means: Mapping[str, float] = field(default_factory=dict)
    """For tables: 'column of metric' → its mean over all rows that have one."""
    hashes: Mapping[str, str] | None = field(default=None, compare=False)
    """File → its SHA-256; a reference does not keep them."""


@dataclass(frozen=True)
class Inventory:
    """A folder of results."""

    scale: str
    seeds: Mapping[str, list[int]]
    """'study/arm' → its seeds."""
    groups: Mapping[str, Group]
    """Common name below the folder → the files of that name."""
    claims: list[dict]
    """The rows of the ledger, as far as claims have been judged."""


def taken(resolved: Resolved, root: Path = Path()) -> Inventory:
    """The inventory of what a configuration asks for, as far as it lies there."""
    results = root / resolved.results
    found: dict[str, list[tuple[str, str | None, Path]]] = {}
    for kind, table, path in _asked_for(resolved, results):
        if path.is_file():
            found.setdefault(common_name(path.relative_to(results).as_posix()), []).append((kind, table, path))
    groups = {name: _group(members, results) for name, members in sorted(found.items())}
    judged = [results / "claims" / f"{name}.json" for name in resolved.claims]
    return Inventory(
        scale=resolved.config.scale,
        seeds={name: list(run.seeds) for name, run in resolved.runs.items()},
        groups=groups,
        claims=[json.loads(path.read_text()) for path in judged if path.is_file()],
    )


def write(inventory: Inventory, folder: Path, ledger: Path) -> list[Path]:
    """Write a reference: the inventory without the hashes of single files, and the ledger as it is."""
    groups = {name: _plain(group) for name, group in inventory.groups.items()}
    told = {"scale": inventory.scale, "seeds": inventory.seeds, "groups": groups}
    return [
        write_text(folder / INVENTORY, json.dumps(told, indent=1, sort_keys=True) + "\n"),
        write_text(folder / LEDGER, ledger.read_text()),
    ]


def read(folder: Path) -> Inventory:
    """A reference. Raises ValueError or FileNotFoundError naming what is wrong with it."""
    try:
        told = json.loads((folder / INVENTORY).read_text())
        claims = json.loads((folder / LEDGER).read_text())["claims"]
        groups = {name: Group(**group) for name, group in told["groups"].items()}
        return Inventory(told["scale"], told["seeds"], groups, claims)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: not a reference ({error}); write it with: reinduce reference") from None


def _asked_for(resolved: Resolved, results: Path) -> Iterator[tuple[str, str | None, Path]]:
    """Kind, table and path of every file."""
    for name, task in resolved.tasks.items():
        yield from (("data", None, path) for path in layout.data_files(results, name, task))
    for name, run in resolved.runs.items():
        for folder in layout.seed_folders(results, name, run.seeds):
            yield from (("weights", None, path) for path in layout.checkpoint_files(folder, run.arm))
            for table in (*layout.RUN_TABLES, "scores"):
                if run.unavailable_reason(table) is None:
                    yield from (("table", table, path) for path in layout.run_table_files(table, folder, run.arm))
    for name in {f"{run.arm.study}/{run.arm.task_name}" for run in resolved.runs.values()}:
        for table in layout.SERIES_TABLES:
            yield "table", table.removeprefix("series_"), layout.series_file(results, table, name)
    for key, study in resolved.studies.items():
        for figure in study.figures:
            yield from (("page", None, results / f"figures/{key}.{figure}{end}") for end in (".ipynb", ".html"))
    yield from (("page", None, results / name) for name in ("ledger.parquet", LEDGER, "index.html"))


def _group(members: list[tuple[str, str | None, Path]], results: Path) -> Group:
    kind, table, _ = members[0]
    hashes = {path.relative_to(results).as_posix(): sha256(path) for _, _, path in members}
    lines = "".join(f"{digest} {name}\n" for name, digest in sorted(hashes.items()))
    return Group(
        kind=kind,
        files=len(members),
        digest=hashlib.sha256(lines.encode()).hexdigest()[:16],
        means=means(tables.read_table(table, [path for _, _, path in members])) if table else {},
        hashes=hashes,
    )


def means(rows: pa.Table) -> dict[str, float]:
    """'column of metric' → mean over all rows where there is a finite value; the column alone where no metric is."""
    found = {}
    for column in MEASURED:
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


def _plain(group: Group) -> dict:
    shown = {name: float(f"{mean:.{DIGITS}g}") for name, mean in group.means.items()}
    return {"kind": group.kind, "files": group.files, "digest": group.digest} | ({"means": shown} if shown else {})
