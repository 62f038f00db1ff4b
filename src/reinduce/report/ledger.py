"""The ledger as people read it: words for numbers, a table for a terminal."""

import json
from collections.abc import Mapping
from pathlib import Path

from reinduce import tables

VERDICTS = ("holds", "fails", "inconclusive")
WIDTH = 120


def read(path: str | Path) -> dict:
    """The ledger: scale (text) and claims, a row a claim.

    A row has every column of table `ledger` (None where nothing is known) and `why`, the criterion's reason.
    Raises FileNotFoundError, or ValueError naming the file and what it lacks.
    """
    try:
        content = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not a ledger: {error}; make it again") from None
    if not isinstance(content, dict) or not {"scale", "claims"} <= set(content):
        raise ValueError(f"{path}: not a ledger: it needs 'scale' and 'claims'; make it again")
    blank = dict.fromkeys([*tables.schema("ledger").names, "why"])
    for row in content["claims"]:
        missing = sorted({"study", "claim", "verdict"} - set(row))
        if missing:
            raise ValueError(f"{path}: a claim lacks {', '.join(missing)}; make the ledger again")
    return content | {"claims": [blank | row for row in content["claims"]]}


def counts(rows: list[Mapping]) -> dict[str, int]:
    """How many claims have each verdict; those of VERDICTS first, always."""
    found = [row["verdict"] for row in rows]
    return {verdict: found.count(verdict) for verdict in dict.fromkeys([*VERDICTS, *found])}


def number(value: float | None) -> str:
    """A number to three significant digits, without exponent where it can be read without."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval(row: Mapping) -> str:
    """A claim's estimate with its interval, e.g. '0.91 [0.85, 0.97]'."""
    if row["estimate"] is None:
        return "–"
    if row["low"] is None or row["high"] is None:
        return number(row["estimate"])
    return f"{number(row['estimate'])} [{number(row['low'])}, {number(row['high'])}]"


def as_table(ledger: Mapping, index: str | Path) -> str:
    """The ledger as lines of at most WIDTH characters; the last one says where the report lies."""
    rows = ledger["claims"]
    head = ("", "claim", "verdict", "estimate", "seeds", "figure")
    cells = [
        [
            row["register"] or "",
            row["claim"],
            row["verdict"],
            interval(row),
            "–" if row["n_seeds"] is None else str(row["n_seeds"]),
            row["figure"] or "–",
        ]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    # Claims have the longest names, so they give way.
    widths[1] -= max(0, sum(widths) + 2 * (len(head) - 1) - WIDTH)
    lines = ["  ".join(_fit(cell, width) for cell, width in zip(row, widths, strict=True)) for row in [head, *cells]]
    lines.insert(1, "  ".join("─" * width for width in widths))
    total = ", ".join(f"{n} {verdict}" for verdict, n in counts(rows).items())
    lines += ["", f"{len(rows)} claims at scale {ledger['scale']}: {total}", f"The report: {index}"]
    return "\n".join(line.rstrip() for line in lines)


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
