"""Two runs side by side: what is bit-identical, what is within a declared tolerance, what differs.

The candidate is the run that is checked, the reference the one that it is compared with.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reinduce.config.declare import Tolerance
from reinduce.replay.inventory import DIGITS, Group, Inventory
from reinduce.replay.replication import Replication, compare_seeds
from reinduce.replay.tolerances import FindTolerance, find_tolerance

IDENTICAL, WITHIN, DIFFERENT, ABSENT = "bit-identical", "within tolerance", "different", "only in reference"
CLASSES = (IDENTICAL, WITHIN, DIFFERENT, ABSENT)
DECIDED = ("holds", "holds alone", "fails", "in between")
MIN_UNCHANGED_SHARE = 0.95
"""Share of the decided verdicts of the reference that other seeds must leave unchanged.

A claim is decided with an error of at most 2.5 % to either side: if more than one verdict in twenty changed on
other seeds, the intervals would not cover what they state.
"""


@dataclass(frozen=True)
class Artefact:
    """Files of one kind in both runs."""

    name: str
    """Their common name."""
    kind: str
    """data, weights, table or page."""
    files: int
    result: str
    """One of CLASSES."""
    identical: int | None
    """How many files are bit-identical; None where the hashes of single files are not known."""
    why: str = ""
    """The largest difference and what is allowed."""


@dataclass(frozen=True)
class VerdictChange:
    """A claim's verdict in both runs."""

    claim: str
    candidate: Mapping[str, Any]
    """Its row of the candidate's ledger."""
    reference: Mapping[str, Any]
    """Its row of the reference's ledger."""
    result: str
    """One of CLASSES."""
    replication: Replication | None = None
    """How the estimates compare, if the claim was judged by other seeds."""

    @property
    def unchanged(self) -> bool:
        """True if both runs have the same verdict; on other seeds, a claim that holds alone may also hold."""
        own, other = self.candidate["verdict"], self.reference["verdict"]
        held = {"holds", "holds alone"}
        return bool(own == other or (self.replication is not None and {own, other} == held))


@dataclass(frozen=True)
class Comparison:
    """A candidate beside its reference."""

    candidate: Inventory
    reference: Inventory
    artefacts: list[Artefact]
    """Empty where the seeds differ: then no two files are expected to be equal."""
    verdict_changes: list[VerdictChange]

    @property
    def other_seeds(self) -> bool:
        """True if an arm has other seeds in the candidate than in the reference."""
        seeds = self.reference.seeds
        return any(seeds.get(name, own) != own for name, own in self.candidate.seeds.items())

    @property
    def agrees(self) -> bool:
        """True if nothing differs beyond tolerance; on other seeds, if enough verdicts are unchanged."""
        if self.other_seeds:
            unchanged, decided = count_unchanged(self.verdict_changes)
            return unchanged >= MIN_UNCHANGED_SHARE * decided
        results = {artefact.result for artefact in self.artefacts} | {change.result for change in self.verdict_changes}
        return not {DIFFERENT, ABSENT} & results


def compare_inventories(
    candidate: Inventory, reference: Inventory, tolerances: FindTolerance = find_tolerance, partial: bool = False
) -> Comparison:
    """Compare two runs.

    Args:
        candidate: The run that is checked.
        reference: The run that it is compared with.
        tolerances: Gives the allowed difference of a mean.
        partial: Whether the candidate is meant to lack files of the reference.

    Returns:
        The comparison; without artefacts if the seeds differ.

    Raises:
        ValueError: The runs have different scales.
    """
    check_scales(candidate.scale, reference.scale)
    if partial:
        # Without all claims of a family there is no word of the family.
        candidate, reference = (
            dataclasses.replace(one, claims=[row | {"verdict": row["looks"][-1]["verdict"]} for row in one.claims])
            for one in (candidate, reference)
        )
    found = Comparison(candidate, reference, [], compare_verdicts(candidate, reference))
    if found.other_seeds:
        return found
    artefacts = compare_artefacts(candidate, reference, tolerances, partial)
    return Comparison(candidate, reference, artefacts, found.verdict_changes)


def check_scales(candidate: str, reference: str) -> None:
    """Check that two runs have the same scale.

    Args:
        candidate: Scale of the run that is checked.
        reference: Scale of the run that it is compared with.

    Raises:
        ValueError: The scales differ.
    """
    if candidate != reference:
        raise ValueError(
            f"the candidate is at {candidate} scale, the reference at {reference}: they cannot be compared"
        )


def compare_artefacts(
    candidate: Inventory, reference: Inventory, tolerances: FindTolerance = find_tolerance, partial: bool = False
) -> list[Artefact]:
    """Compare the files of two runs, kind by kind.

    Tables have tolerances, metric by metric, on means over all rows of an arm. Files without
    measured values (data, weights, pages) are within tolerance if all tables that depend on them
    are: for weights those of the same arm, for data and pages all tables.

    Args:
        candidate: The run that is checked.
        reference: The run that it is compared with.
        tolerances: Gives the allowed difference of a mean.
        partial: Whether files that only the reference has are left out.

    Returns:
        An artefact for each common name, sorted.
    """
    tables = {
        name: _compare_tables(name, group, reference.groups[name], tolerances)
        for name, group in candidate.groups.items()
        if group.kind == "table" and name in reference.groups
    }
    found = []
    for name in sorted({*candidate.groups, *reference.groups}):
        own, other = candidate.groups.get(name), reference.groups.get(name)
        if own is None:
            if other is not None and not partial:
                found.append(Artefact(name, other.kind, other.files, ABSENT, None))
        elif other is None:
            found.append(Artefact(name, own.kind, own.files, DIFFERENT, None, "the reference does not have it"))
        elif name in tables:
            found.append(tables[name])
        else:
            found.append(_compare_by_tables(name, own, other, tables))
    return found


def compare_verdicts(candidate: Inventory, reference: Inventory) -> list[VerdictChange]:
    """Compare the verdicts of all claims that were judged in both runs.

    A verdict is within tolerance if it is the same and its estimate is in the reference's confidence interval, or, for
    other seeds, in its prediction interval.

    Args:
        candidate: The run that is checked.
        reference: The run that it is compared with.

    Returns:
        A change for each claim, in the candidate's order.
    """
    known = {_claim_name(row): row for row in reference.claims}
    pairs = [(_claim_name(row), row, known[_claim_name(row)]) for row in candidate.claims if _claim_name(row) in known]
    found = []
    for name, own, other in pairs:
        replication = _replicate(own, other) if not set(own["values"]) & set(other["values"]) else None
        found.append(VerdictChange(name, own, other, _classify_verdict(own, other, replication), replication))
    return found


def _replicate(own: Mapping[str, Any], other: Mapping[str, Any]) -> Replication:
    """Compare the values of a claim's two rows."""
    candidate, reference = ([v for v in row["values"].values() if v is not None] for row in (own, other))
    return compare_seeds(candidate, reference, statistic=own["criterion"].split()[0])


def count_unchanged(changes: Iterable[VerdictChange]) -> tuple[int, int]:
    """Count the verdicts that are unchanged, of those that are decided in the reference.

    Args:
        changes: Verdicts of both runs.

    Returns:
        How many are unchanged, and of how many.
    """
    decided = [change for change in changes if change.reference["verdict"] in DECIDED]
    return sum(change.unchanged for change in decided), len(decided)


def _compare_tables(name: str, own: Group, other: Group, tolerances: FindTolerance) -> Artefact:
    """Compare one table of the candidate with the reference's by the means of its metrics."""
    if own.digest == other.digest:
        return Artefact(name, own.kind, own.files, IDENTICAL, own.files)
    if own.files != other.files:
        return Artefact(name, own.kind, own.files, DIFFERENT, None, _format_file_counts(own, other))
    gaps = [
        _measure_gap(metric, own, other, tolerances(metric, name.split("/")[0]))
        for metric in sorted({*own.means, *other.means})
    ]
    worst, why = max(gaps, default=(math.inf, "it holds no measured values, and must be equal"))
    if not worst:
        why = "no metric's mean differs"
    result = WITHIN if worst <= 1 else DIFFERENT
    return Artefact(name, own.kind, own.files, result, _count_identical(own, other), why)


def _measure_gap(metric: str, own: Group, other: Group, allowed: Tolerance | None) -> tuple[float, str]:
    """The difference of a metric's means in units of its tolerance, so that the worst can be found; and a text."""
    candidate, reference = own.means.get(metric), other.means.get(metric)
    if candidate is None or reference is None:
        return math.inf, f"{metric}: only in the {'reference' if candidate is None else 'candidate'}"
    limit = allowed.limit(reference) if allowed else 0.0
    gap = abs(candidate - reference)
    if gap <= abs(reference) * 10.0**-DIGITS * 10:
        return 0.0, ""
    allowance = f"a difference of {limit:.2g} is allowed" if allowed else "no difference is allowed"
    text = f"{metric}: candidate {candidate:.5g}, reference {reference:.5g}, {allowance}"
    return gap / limit if limit else math.inf, text


def _compare_by_tables(name: str, own: Group, other: Group, tables: Mapping[str, Artefact]) -> Artefact:
    """Compare files without measured values by the tables that depend on them."""
    if own.digest == other.digest:
        return Artefact(name, own.kind, own.files, IDENTICAL, own.files)
    arm = name.split("/seed")[0] + "/"
    related = [table for table in tables.values() if own.kind != "weights" or table.name.startswith(arm)]
    beyond = [table.name for table in related if table.result == DIFFERENT]
    identical = _count_identical(own, other)
    if own.files != other.files or beyond or not related:
        why = f"as {beyond[0]}" if beyond else _format_file_counts(own, other)
        return Artefact(name, own.kind, own.files, DIFFERENT, identical, why)
    return Artefact(name, own.kind, own.files, WITHIN, identical, "all its tables are within tolerance")


def _format_file_counts(own: Group, other: Group) -> str:
    return f"{own.files} files in the candidate, {other.files} in the reference"


def _count_identical(own: Group, other: Group) -> int | None:
    """How many files are bit-identical; None if the hashes of single files are not known."""
    if own.hashes is None or other.hashes is None:
        return None
    return sum(other.hashes.get(name) == digest for name, digest in own.hashes.items())


def _claim_name(row: Mapping[str, Any]) -> str:
    return f"{row['study']}.{row['claim']}"


def _classify_verdict(own: Mapping[str, Any], other: Mapping[str, Any], replication: Replication | None) -> str:
    """The class of a claim's two rows."""
    if replication is not None:
        return WITHIN if own["verdict"] == other["verdict"] and replication.is_predicted else DIFFERENT
    if all(own[key] == other[key] for key in ("verdict", "estimate", "ci_low", "ci_high", "control_verdict")):
        return IDENTICAL
    if own["verdict"] == other["verdict"] and _is_in_interval(own["estimate"], other):
        return WITHIN
    return DIFFERENT


def _is_in_interval(estimate: float | None, other: Mapping[str, Any]) -> bool:
    """True if an estimate is in the other's confidence interval; without an interval, if the estimates are equal."""
    if estimate is None or other["estimate"] is None:
        return False
    if other["ci_low"] is None:
        return math.isclose(estimate, other["estimate"], rel_tol=1e-6, abs_tol=1e-9)
    return bool(other["ci_low"] <= estimate <= other["ci_high"])
