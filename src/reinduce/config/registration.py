"""What a claim said before its seeds were judged: hashes with dates, in each study's registration.json.

A hash covers what an author writes of a claim: sentence, query, criterion, control, family, and the seeds of all looks
at every scale. Settings of trainings and definitions of metrics are not in it. `reinduce register` adds a line where
the hash is new, and notes which seeds of the arms that the claim reads had been judged by then, in the committed
reference or in the ledger at hand. So an amendment that was made after these were known marks itself.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "registration.json"
"""In a study's folder."""
REFERENCE = Path("results/reference/ledger.json")
"""The ledger of the committed reference, whose seeds are known to everybody."""

COVERED = ("statement", "reads", "with", "evidence", "unit", "criterion", "control", "family")
"""Keys of a claim that its hash covers, beside its seeds."""


def hash_claim(claim: Mapping[str, Any], seeds: Mapping[str, Any]) -> str:
    """Hash what an author writes of a claim, and its seeds.

    Args:
        claim: The claim as claims.yaml has it, with its family.
        seeds: Scale → arm → its seeds at each look.

    Returns:
        Sixteen hexadecimal digits.
    """
    content = {key: claim.get(key) for key in COVERED} | {"seeds": seeds}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_registration(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Read a study's registration.

    Args:
        folder: The study's folder.

    Returns:
        Claim → its lines, the oldest first; empty if nothing was registered.

    Raises:
        ValueError: The file is not a registration.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
        if not isinstance(found, dict) or not all(map(_is_history, found.values())):
            raise ValueError("not a registration: claim → list of {date, hash, known_seeds}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; restore it from git, since it cannot be made again") from None
    return found


def register_claims(
    lines: dict[str, list[dict[str, Any]]],
    claims: Iterable[Mapping[str, Any]],
    known: Mapping[str, set[int]],
    date: str,
) -> list[str]:
    """Add a line for every claim of a study that is new or was amended.

    Args:
        lines: The study's registration; added to.
        claims: Its resolved claims.
        known: 'study/arm' → seeds that some claim was judged by.
        date: Of today.

    Returns:
        What was added, a line for each claim.
    """
    added = []
    for claim in claims:
        history = lines.setdefault(claim["claim"], [])
        if history and history[-1]["hash"] == claim["hash"]:
            continue
        arms = sorted({arm for look in claim["looks"] for arm in look})
        before = {arm: sorted(known[arm]) for arm in arms if arm in known}
        history.append({"date": date, "hash": claim["hash"], "known_seeds": before})
        what = "amended" if len(history) > 1 else "registered"
        after = ", after seeds of its arms had been judged" if before else ""
        added.append(f"{claim['study']}.{claim['claim']}: {what}{after}")
    return added


def find_line(history: list[dict[str, Any]], digest: str) -> dict[str, Any] | None:
    """Find the line of a claim as it is now.

    Args:
        history: The claim's lines, the oldest first.
        digest: The claim's hash.

    Returns:
        The last line; None if it is of another version of the claim, or if there is none.
    """
    return history[-1] if history and history[-1]["hash"] == digest else None


def _is_history(lines: Any) -> bool:
    """Whether something read from a registration is the lines of a claim."""
    kinds = {"date": str, "hash": str, "known_seeds": dict}
    return (
        isinstance(lines, list)
        and all(isinstance(line, dict) and line.keys() == kinds.keys() for line in lines)
        and all(isinstance(line[key], kind) for line in lines for key, kind in kinds.items())
        and all(isinstance(seeds, list) for line in lines for seeds in line["known_seeds"].values())
    )


def list_known_seeds(ledgers: Iterable[Iterable[Mapping[str, Any]]]) -> dict[str, set[int]]:
    """List the seeds of each arm that some claim was judged by.

    Args:
        ledgers: Rows of ledgers, with `reads` and `values` of the claim and of its control.

    Returns:
        'study/arm' → seeds.
    """
    found: dict[str, set[int]] = {}
    for row in (row for ledger in ledgers for row in ledger):
        for prefix in ("", "control_"):
            arms = {name for names in row[f"{prefix}reads"].values() for name in names}
            for arm in arms:
                found.setdefault(arm, set()).update(map(int, row[f"{prefix}values"]))
    return found
