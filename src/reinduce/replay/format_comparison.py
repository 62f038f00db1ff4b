"""A comparison of two runs as text."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from reinduce.replay.compare import ABSENT, CLASSES, DIFFERENT, Artefact, Comparison, VerdictChange, count_unchanged

MAX_LISTED = 12
"""How many differences are printed; the JSON file has all of them."""


def format_comparison(comparison: Comparison, against: Path) -> list[str]:
    """Format a comparison for a terminal.

    Args:
        comparison: Two runs.
        against: The folder of the reference.

    Returns:
        Lines of text.
    """
    lines = [f"Compared with {against}, at {comparison.candidate.scale} scale:"]
    if not comparison.other_seeds:
        lines += ["", *_format_counts(comparison.artefacts, comparison.verdict_changes)]
        lines += _format_identical_files(comparison.artefacts)
        lines += _format_differences(comparison.artefacts)
    return lines + _format_verdicts(comparison)


def _format_counts(artefacts: Iterable[Artefact], changes: Sequence[VerdictChange]) -> list[str]:
    """A table: how many artefacts of each kind are in each class."""
    kinds: dict[str, list[str]] = {}
    for artefact in artefacts:
        kinds.setdefault(artefact.kind, []).append(artefact.result)
    if changes:
        kinds["verdict"] = [change.result for change in changes]
    lines = [f"  {'':10}" + "".join(f"{name:>18}" for name in CLASSES)]
    return lines + [
        f"  {kind:10}" + "".join(f"{results.count(name):>18}" for name in CLASSES)
        for kind, results in sorted(kinds.items())
    ]


def _format_identical_files(artefacts: Iterable[Artefact]) -> list[str]:
    """How many files are bit-identical, of those whose hashes are known in both runs."""
    known = [(artefact.files, artefact.identical) for artefact in artefacts if artefact.identical is not None]
    if not known:
        return []
    files, identical = (sum(counts) for counts in zip(*known, strict=True))
    return ["", f"{identical} of {files} files are bit-identical."]


def _format_differences(artefacts: Iterable[Artefact]) -> list[str]:
    """The first of the artefacts that differ, with the reason."""
    differing = [artefact for artefact in artefacts if artefact.result in (DIFFERENT, ABSENT)]
    if not differing:
        return []
    lines = ["", *(f"  {one.name}: {one.result}{': ' * bool(one.why)}{one.why}" for one in differing[:MAX_LISTED])]
    return lines + ([f"  … and {len(differing) - MAX_LISTED} more"] if len(differing) > MAX_LISTED else [])


def _format_verdicts(comparison: Comparison) -> list[str]:
    """How many verdicts are unchanged, and each that changed."""
    changes = comparison.verdict_changes
    changed = [change for change in changes if not change.unchanged]
    unchanged, decided = count_unchanged(changes)
    seeds = " on other seeds" if comparison.other_seeds else ""
    share = f" ({unchanged / decided:.1%})" if decided else ""
    lines = [
        "",
        f"{len(changes) - len(changed)} of {len(changes)} verdicts are unchanged{seeds}; "
        f"of those that are decided in the reference, {unchanged} of {decided}{share}.",
    ]
    predicted = [one.replication.is_predicted for one in changes if one.replication is not None]
    known = [one for one in predicted if one is not None]
    if known:
        lines.append(f"{sum(known)} of {len(known)} estimates lie in the reference's 95 % prediction interval.")
    for change in changed:
        reference, candidate = (
            f"{row['verdict']} ({_format_number(row['estimate'])} "
            f"[{_format_number(row['ci_low'])}, {_format_number(row['ci_high'])}])"
            for row in (change.reference, change.candidate)
        )
        lines.append(f"  {change.claim}: reference {reference}, candidate {candidate}")
    return lines


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
