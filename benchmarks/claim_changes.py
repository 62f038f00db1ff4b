"""List what changed in the studies' claims since a commit, and which thresholds were moved.

    python -m benchmarks.claim_changes REVISION

A threshold is looser if it lets a claim hold for values for which it did not hold before, or no longer lets it fail for
values for which it failed. Anything else that changed is listed beside it, for a reader to judge.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

STUDIES = Path("workflow/studies")
MISSING = "nothing"


def list_changes(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each key, joined by dots, whose value differs: the key, the value before and the value after.

    >>> list(list_changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}))
    [('a.c', 2, 'nothing')]
    """
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key, MISSING), after.get(key, MISSING)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from list_changes(one, other, f"{path}{key}.")
        elif one != other:
            yield f"{path}{key}", one, other


def find_looser(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the thresholds of a criterion that were moved so that a claim holds more easily or fails less easily.

    >>> before = {"holds": {"above": 0.5}, "fails": {"below": 0.2}}
    >>> find_looser(before, {"holds": {"above": 0.4}, "fails": {"below": 0.3}})
    ['holds']
    """
    looser = []
    for name in ("holds", "fails"):
        [(side, old)], [(now, new)] = before[name].items(), after[name].items()
        # Holds is looser where its region grew, fails where it shrank.
        grew = (new < old) if side == "above" else (new > old)
        if side != now or (new != old and grew == (name == "holds")):
            looser.append(name)
    return looser


def read_claims(study: Path, revision: str | None) -> dict[str, dict[str, Any]]:
    """Return a study's claims by their ids, as they are or as they were at a commit."""
    path = study / "claims.yaml"
    if revision is None:
        text = path.read_text()
    else:
        shown = subprocess.run(["git", "show", f"{revision}:{path.as_posix()}"], capture_output=True, text=True)
        text = shown.stdout if shown.returncode == 0 else "[]"
    return {claim["id"]: claim for claim in yaml.safe_load(text)}


def main(revision: str) -> None:
    for study in sorted(path.parent for path in STUDIES.glob("*/claims.yaml")):
        before, after = read_claims(study, revision), read_claims(study, None)
        for name in dict.fromkeys([*before, *after]):
            changes = [*list_changes(before.get(name, {}), after.get(name, {}))]
            if changes:
                print(f"{study.name}.{name}")
            for key, one, other in changes:
                print(f"  {key}: {str(one).strip()!r} -> {str(other).strip()!r}")
            if name in before and name in after:
                for side in find_looser(before[name]["criterion"], after[name]["criterion"]):
                    print(f"  LOOSER: criterion.{side}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or sys.exit(__doc__))
