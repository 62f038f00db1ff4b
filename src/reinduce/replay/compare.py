"""Two runs side by side: what came out bit for bit, what within a declared tolerance, what differently."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reinduce.config.tree import Tolerance
from reinduce.replay.inventory import DIGITS, Group, Inventory

IDENTICAL, WITHIN, DIFFERENT, ABSENT = "bit-identical", "within tolerance", "different", "only there"
CLASSES = (IDENTICAL, WITHIN, DIFFERENT, ABSENT)
DECIDED = ("holds", "fails")
STABLE = 0.95
"""Share of verdicts, of those that were `holds` or `fails`, that other seeds must leave as they were.

A claim that holds or fails does so with a whole 95 % interval: more than one in twenty that
turn over on other seeds would mean that intervals do not say what they claim to say.
"""


@dataclass(frozen=True)
class Artefact:
    """Files of one kind, here and there."""

    name: str
    kind: str
    files: int
    result: str
    """One of CLASSES."""
    identical: int | None
    """How many files are the same bit for bit; None where single files are not known."""
    why: str = ""
    """What differs most, and by what it may."""


@dataclass(frozen=True)
class Turn:
    """A claim's verdict, here and there."""

    claim: str
    here: Mapping
    there: Mapping
    result: str

    @property
    def kept(self) -> bool:
        return self.here["verdict"] == self.there["verdict"]


@dataclass(frozen=True)
class Comparison:
    """A run beside another."""

    here: Inventory
    there: Inventory
    artefacts: list[Artefact]
    """Empty where the seeds are others: then no two files are meant to be equal."""
    turns: list[Turn]

    @property
    def other_seeds(self) -> bool:
        return any(self.there.seeds.get(name, seeds) != seeds for name, seeds in self.here.seeds.items())

    @property
    def agrees(self) -> bool:
        """Whether nothing differs beyond tolerance; of other seeds, whether enough verdicts stayed."""
        if self.other_seeds:
            kept, decided = stability(self.turns)
            return kept >= STABLE * decided
        results = [one.result for one in (*self.artefacts, *self.turns)]
        return not {DIFFERENT, ABSENT} & set(results)


def compared(here: Inventory, there: Inventory, tolerances: Iterable[Tolerance], partial: bool = False) -> Comparison:
    """Two inventories side by side; raises ValueError if they are of different scales."""
    check_scales(here.scale, there.scale)
    found = Comparison(here, there, [], verdicts(here, there))
    if found.other_seeds:
        return found
    return Comparison(here, there, artefacts(here, there, tolerances, partial), found.turns)


def check_scales(here: str, there: str) -> None:
    """Raise ValueError if two runs are of different scales."""
    if here != there:
        raise ValueError(f"one run is at {here} scale, the other at {there}: nothing of them is meant to be equal")


def artefacts(
    here: Inventory, there: Inventory, tolerances: Iterable[Tolerance], partial: bool = False
) -> list[Artefact]:
    """Every kind of file that is here or there; `partial`: what is only there was not asked for.

    Tables have tolerances, metric by metric, on means over all rows of an arm. What holds no
    measured values (data, weights, pages) is within tolerance if all tables are that it led
    to or was drawn from: those of its own arm for weights, all for data and pages.
    """
    tables = {
        name: _table(name, group, there.groups[name], tolerances)
        for name, group in here.groups.items()
        if group.kind == "table" and name in there.groups
    }
    found = []
    for name in sorted({*here.groups, *there.groups}):
        one, other = here.groups.get(name), there.groups.get(name)
        if one is None:
            if not partial:
                found.append(Artefact(name, other.kind, other.files, ABSENT, None))
        elif other is None:
            found.append(Artefact(name, one.kind, one.files, DIFFERENT, None, "it is not there"))
        elif name in tables:
            found.append(tables[name])
        else:
            found.append(_by_tables(name, one, other, tables))
    return found


def _table(name: str, one: Group, other: Group, tolerances: Iterable[Tolerance]) -> Artefact:
    if one.digest == other.digest:
        return Artefact(name, one.kind, one.files, IDENTICAL, one.files)
    if one.files != other.files:
        return Artefact(name, one.kind, one.files, DIFFERENT, None, f"{one.files} files here, {other.files} there")
    gaps = [_gap(metric, one, other, tolerances) for metric in sorted({*one.means, *other.means})]
    worst, why = max(gaps, default=(math.inf, "it holds no measured values, and must be the same"))
    if not worst:
        why = "no metric's mean differs"
    return Artefact(name, one.kind, one.files, WITHIN if worst <= 1 else DIFFERENT, _same(one, other), why)


def _gap(metric: str, one: Group, other: Group, tolerances: Iterable[Tolerance]) -> tuple[float, str]:
    """By how much a metric's means differ, in units of what is allowed, so that the worst can be found; and words."""
    here, there = one.means.get(metric), other.means.get(metric)
    if here is None or there is None:
        return math.inf, f"{metric}: only {'there' if here is None else 'here'}"
    allowed = tolerance_of(metric, tolerances)
    limit = allowed.of(there) if allowed else 0.0
    gap = abs(here - there)
    if gap <= abs(there) * 10.0**-DIGITS * 10:
        return 0.0, ""
    limited = f"{limit:.2g} is allowed" if allowed else "nothing is allowed"
    return gap / limit if limit else math.inf, f"{metric}: {here:.5g} here, {there:.5g} there, {limited}"


def tolerance_of(metric: str, tolerances: Iterable[Tolerance]) -> Tolerance | None:
    """The first tolerance that is declared for 'column of metric'; None: it must be the same."""
    return next((one for one in tolerances if any(fnmatchcase(metric, name) for name in one.metrics)), None)


def _by_tables(name: str, one: Group, other: Group, tables: Mapping[str, Artefact]) -> Artefact:
    if one.digest == other.digest:
        return Artefact(name, one.kind, one.files, IDENTICAL, one.files)
    arm = name.split("/seed")[0] + "/"
    related = [table for table in tables.values() if one.kind != "weights" or table.name.startswith(arm)]
    beyond = [table.name for table in related if table.result == DIFFERENT]
    if one.files != other.files or beyond or not related:
        why = f"as {beyond[0]}" if beyond else f"{one.files} files here, {other.files} there"
        return Artefact(name, one.kind, one.files, DIFFERENT, _same(one, other), why)
    return Artefact(name, one.kind, one.files, WITHIN, _same(one, other), "all tables of it are within tolerance")


def _same(one: Group, other: Group) -> int | None:
    if one.hashes is None or other.hashes is None:
        return None
    return sum(other.hashes.get(name) == digest for name, digest in one.hashes.items())


def verdicts(here: Inventory, there: Inventory) -> list[Turn]:
    """Every claim that was judged here and there.

    A verdict is within tolerance if it is the same word and its estimate lies in the other's
    interval: that is where the mean of other replicates is expected.
    """
    known = {_name(row): row for row in there.claims}
    pairs = [(_name(row), row, known[_name(row)]) for row in here.claims if _name(row) in known]
    return [Turn(name, one, other, _turn(one, other)) for name, one, other in pairs]


def _name(row: Mapping) -> str:
    return f"{row['study']}.{row['claim']}"


def _turn(one: Mapping, other: Mapping) -> str:
    numbers = ("verdict", "estimate", "low", "high", "control_verdict")
    if all(one[key] == other[key] for key in numbers):
        return IDENTICAL
    return WITHIN if one["verdict"] == other["verdict"] and _inside(one["estimate"], other) else DIFFERENT


def _inside(estimate: float | None, other: Mapping) -> bool:
    """Whether an estimate lies in the other's interval; where all seeds there agree, whether it is the same number."""
    if None in (estimate, other["estimate"]):
        return False
    if other["low"] is None:
        return math.isclose(estimate, other["estimate"], rel_tol=1e-6, abs_tol=1e-9)
    return other["low"] <= estimate <= other["high"]


def stability(turns: Iterable[Turn]) -> tuple[int, int]:
    """How many of the verdicts that were `holds` or `fails` there are the same here, and how many there were."""
    decided = [turn for turn in turns if turn.there["verdict"] in DECIDED]
    return sum(turn.kept for turn in decided), len(decided)
