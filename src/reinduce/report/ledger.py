"""The ledger as text: numbers, intervals, and a table for a terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reinduce import tables

VERDICTS = ("holds", "holds alone", "fails", "in between", "inconclusive", "void")
MAX_WIDTH = 120
"""Longest line of the table, in characters."""


def read_ledger(path: str | Path) -> dict[str, Any]:
    """Read a ledger.

    Args:
        path: Its JSON file.

    Returns:
        `scale` and `claims`: a row for each claim with every column of table `ledger` (None where it is unknown) and
        `why`, the criterion's reason.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a ledger.
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


def count_verdicts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the claims with each verdict.

    Args:
        rows: Rows of a ledger.

    Returns:
        Verdict → number of claims; those of VERDICTS first, also if their number is 0.
    """
    found = [row["verdict"] for row in rows]
    return {verdict: found.count(verdict) for verdict in dict.fromkeys([*VERDICTS, *found])}


def format_number(value: float | None) -> str:
    """Format a number with three significant digits, without an exponent where possible.

    Args:
        value: A number; None if it is unknown.

    Returns:
        For example '0.123' or '-1234'; a dash for None.

    Example:
        >>> format_number(0.123456)
        '0.123'
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def format_estimate(row: Mapping[str, Any]) -> str:
    """Format a claim's estimate with its confidence interval.

    Args:
        row: A row of a ledger.

    Returns:
        For example '0.91 [0.85, 0.97]'; a dash without an estimate.
    """
    if row["estimate"] is None:
        return "–"
    if row["ci_low"] is None or row["ci_high"] is None:
        return format_number(row["estimate"])
    return f"{format_number(row['estimate'])} [{format_number(row['ci_low'])}, {format_number(row['ci_high'])}]"


def format_ledger(ledger: Mapping[str, Any], index: str | Path) -> str:
    """Format the ledger for a terminal.

    Args:
        ledger: As `read_ledger` returns it.
        index: The report's front page.

    Returns:
        Lines of at most MAX_WIDTH characters; the last one is the path of the report.
    """
    rows = ledger["claims"]
    head = ("", "claim", "verdict", "estimate", "seeds", "figure")
    cells = [
        [
            row["claim_number"] or "",
            row["claim"],
            row["verdict"],
            format_estimate(row),
            "–" if row["n_seeds"] is None else str(row["n_seeds"]),
            row["figure"] or "–",
        ]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    # Names of claims are longest, so their column is cut.
    widths[1] -= max(0, sum(widths) + 2 * (len(head) - 1) - MAX_WIDTH)
    lines = ["  ".join(_fit(cell, width) for cell, width in zip(row, widths, strict=True)) for row in [head, *cells]]
    lines.insert(1, "  ".join("─" * width for width in widths))
    total = ", ".join(f"{n} {verdict}" for verdict, n in count_verdicts(rows).items())
    lines += ["", f"{len(rows)} claims at scale {ledger['scale']}: {total}", f"The report: {index}"]
    return "\n".join(line.rstrip() for line in lines)


def _fit(text: str, width: int) -> str:
    """A text padded or cut to a width."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
