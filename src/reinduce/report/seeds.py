"""The page of seeds: the values behind each verdict, and what it would be without each of them."""

import re
from collections.abc import Mapping
from typing import Any

from reinduce.report import pages

MARGIN = 2.0
"""Room to the left and to the right of all values, in percent of the width."""
CRITERION = re.compile(r"\w+ (above|below) (\S+) \(fails (above|below) (\S+)\)")


def render_seeds(ledger: Mapping[str, Any]) -> str:
    """Render the page of seeds.

    Args:
        ledger: As `ledger.read_ledger` returns it.

    Returns:
        HTML: a strip for each claim, those first whose verdict rests on a single seed.
    """
    rows = [row | {"strip": place_seeds(row)} for row in ledger["claims"] if row.get("values")]
    rows.sort(key=lambda row: not row.get("without") or len(row["without"]) == len(row["values"]))
    return pages.render_template("seeds.html.j2", scale=ledger["scale"], claims=rows)


def place_seeds(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Place a claim's values, thresholds and interval on a line from 0 to 100.

    Args:
        row: A row of a ledger with `values`, `without` and `criterion`.

    Returns:
        `seeds`: seed, value, place and the verdict without it (None where it stays, or where every seed changes it);
        `holds` and `fails`: side, number and place; `interval`: both places; `least` and `most`: the numbers at the
        ends. None without a value.

    Example:
        >>> row = {"criterion": "mean above 1 (fails below 0)", "values": {"0": 2.0}, "ci_low": None, "ci_high": None}
        >>> found = place_seeds(row)
        >>> [seed["at"] for seed in found["seeds"]], found["fails"]["at"]
        ([98.0], 2.0)
    """
    values = {seed: value for seed, value in row["values"].items() if value is not None}
    matched = CRITERION.fullmatch(row["criterion"] or "")
    if not values or matched is None:
        return None
    thresholds = {"holds": (matched[1], float(matched[2])), "fails": (matched[3], float(matched[4]))}
    # An interval may reach far beyond all values; it is then cut at the ends.
    numbers = [*values.values(), *(number for _, number in thresholds.values())]
    least, most = min(numbers), max(numbers)

    def place(number: float) -> float:
        share = (number - least) / (most - least) if most > least else 0.5
        return round(min(100.0, max(0.0, MARGIN + (100 - 2 * MARGIN) * share)), 2)

    without = row.get("without") or {}
    # Where it is so for every seed, no single one is special: their number is the smallest that decides.
    without = {} if len(without) == len(values) else without
    ends = (row["ci_low"], row["ci_high"])
    return {
        "seeds": [
            {"seed": seed, "value": value, "at": place(value), "without": without.get(seed)}
            for seed, value in values.items()
        ],
        **{name: {"side": side, "number": number, "at": place(number)} for name, (side, number) in thresholds.items()},
        "interval": None if None in ends else [place(end) for end in ends],
        "least": least,
        "most": most,
    }
