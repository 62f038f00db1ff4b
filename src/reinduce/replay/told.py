"""A comparison as people read it."""

from collections.abc import Iterable
from pathlib import Path

from reinduce.replay.compare import ABSENT, CLASSES, DIFFERENT, Artefact, Comparison, Turn, stability

SHOWN = 12
"""How many differences are printed; the JSON has all."""


def told(comparison: Comparison, against: Path) -> list[str]:
    """A comparison as lines."""
    lines = [f"Compared with {against}, at {comparison.here.scale} scale:"]
    if not comparison.other_seeds:
        lines += ["", *_table_of_kinds(comparison.artefacts, comparison.turns)]
        known = [one for one in comparison.artefacts if one.identical is not None]
        files, same = sum(one.files for one in known), sum(one.identical for one in known)
        lines += ["", f"{same} of {files} files are the same bit for bit."] if known else []
        differing = [one for one in comparison.artefacts if one.result in (DIFFERENT, ABSENT)]
        lines += ["", *(f"  {one.name}: {one.result}: {one.why}" for one in differing[:SHOWN])] if differing else []
        lines += [f"  … and {len(differing) - SHOWN} more"] if len(differing) > SHOWN else []
    return lines + _verdicts(comparison)


def _table_of_kinds(artefacts: Iterable[Artefact], turns: list[Turn]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for one in artefacts:
        kinds.setdefault(one.kind, []).append(one.result)
    if turns:
        kinds["verdict"] = [turn.result for turn in turns]
    lines = [f"  {'':10}" + "".join(f"{name:>18}" for name in CLASSES)]
    return lines + [
        f"  {kind:10}" + "".join(f"{results.count(name):>18}" for name in CLASSES)
        for kind, results in sorted(kinds.items())
    ]


def _verdicts(comparison: Comparison) -> list[str]:
    turned = [turn for turn in comparison.turns if not turn.kept]
    kept, decided = stability(comparison.turns)
    seeds = " on other seeds" if comparison.other_seeds else ""
    share = f" ({kept / decided:.1%})" if decided else ""
    lines = [
        "",
        f"{len(comparison.turns) - len(turned)} of {len(comparison.turns)} verdicts are the same{seeds}; "
        f"of those that hold or fail there, {kept} of {decided}{share}.",
    ]
    for turn in turned:
        pair = [
            f"{row['verdict']} ({_number(row['estimate'])} [{_number(row['low'])}, {_number(row['high'])}])"
            for row in (turn.there, turn.here)
        ]
        lines.append(f"  {turn.claim}: {pair[0]} there, {pair[1]} here")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
