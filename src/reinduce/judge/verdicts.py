"""From one value for each seed to a verdict."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reinduce.judge.criteria import Criterion
from reinduce.judge.statistics import (
    ERROR,
    MIN_SEEDS,
    confidence_interval,
    is_beyond,
    min_seeds,
    p_value,
)

VERDICTS = {
    "holds": "the statistic over seeds is shown to be where the claim holds, with the error of the claim's family",
    "holds alone": "the same, but with an error for this claim alone",
    "fails": "the statistic over seeds is shown to be where the claim fails",
    "in between": "the statistic over seeds is shown to be where the claim neither holds nor fails",
    "inconclusive": "the seeds show none of these",
    "void": "the claim would hold, but so does its control, or the control was not measured",
}
"""Verdict → its meaning."""
ALONE = "for this claim alone, "
"""How the reason of `holds alone` begins."""
CONTRADICTION = "the seeds contradict each other"
"""How the reason begins where seeds show two things of which one must be false."""
SHARED = "claims of its family share the error"
"""How the part of that reason about the family ends."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence shows; a number is None where it cannot be computed."""

    verdict: str
    """One of VERDICTS."""
    reason: str
    n_seeds: int
    """Seeds with a value."""
    estimate: float | None
    """The criterion's statistic over seeds."""
    ci_low: float | None
    """Lower end of the estimate's 95 % confidence interval, which is valid at all numbers of seeds together."""
    ci_high: float | None
    """Upper end of that interval."""
    p_value: float | None
    """One-sided, against the threshold beyond which the claim holds; valid at all numbers of seeds together."""


def judge_seeds(values: Mapping[int, float | None], seeds: Iterable[int], criterion: Criterion) -> Verdict:
    """Judge one value for each seed.

    The claim holds (fails) if the seeds show, with an error of at most 2.5 %, that the statistic is beyond the
    threshold where it holds (fails), and the statistic of these seeds is there itself; it lies in between if they show
    that it is beyond neither. It is inconclusive otherwise, if fewer than three seeds have a value, or if any seed
    lacks one: a seed that could not be measured is likely to be unusual.

    Args:
        values: Seed → value; None, or a number that is not finite, where it was not measured.
        seeds: All seeds that should have a value.
        criterion: When the claim holds and fails.

    Returns:
        The verdict.

    Raises:
        ValueError: There is a value for a seed that should have none, a share has a value other than 0 and 1, or a
            value is outside the criterion's range.
    """
    expected = set(seeds)
    surplus = sorted(set(values) - expected)
    if surplus:
        raise ValueError(f"evidence: it gives values for seeds that not all of its arms have: {_list_seeds(surplus)}")
    found = {seed: value for seed, value in sorted(values.items()) if value is not None and math.isfinite(value)}
    absent = sorted(expected - found.keys())
    measured = list(found.values())
    _check_values(measured, criterion)
    law = criterion.law
    estimate = _estimate(measured, criterion) if measured else None
    interval = confidence_interval(measured, law)
    if interval and estimate is not None and not interval[0] <= estimate <= interval[1]:
        interval = None  # The seeds are not of one law, or scatter far more than the criterion states.
    decision, reason = _decide(measured, absent, criterion)
    return Verdict(
        verdict=decision,
        reason=reason,
        n_seeds=len(measured),
        estimate=estimate,
        ci_low=interval[0] if interval else None,
        ci_high=interval[1] if interval else None,
        p_value=p_value(measured, law, criterion.holds) if measured and not absent else None,
    )


def leave_each_out(values: Mapping[int, float | None], criterion: Criterion) -> dict[int, str]:
    """Judge with each seed left out, to find verdicts that rest on one seed.

    Args:
        values: Seed → value; None where it was not measured.
        criterion: When the claim holds and fails.

    Returns:
        Seed → the verdict of the others.
    """
    found = {}
    for seed in values:
        others = {other: value for other, value in values.items() if other != seed}
        found[seed] = judge_seeds(others, others, criterion).verdict
    return found


def apply_control(
    claim: Verdict, control: Verdict, control_values: Iterable[float | None], criterion: Criterion
) -> Verdict:
    """Void a claim that holds if its control, where it must not hold, does not speak against it.

    That is so if the control holds too, if every seed of the control is where the claim would hold (a control casts
    doubt even if its own seeds are too few to decide), or if any seed of the control was not measured.

    Args:
        claim: The claim's verdict.
        control: The control's verdict.
        control_values: The control's values, one for each seed that it should have; None where not measured.
        criterion: The claim's criterion.

    Returns:
        The claim's verdict, with `void` and a reason in place of `holds` where the control forbids it.
    """
    values = list(control_values)
    measured = [value for value in values if value is not None]
    if claim.verdict != "holds":
        return claim
    if control.verdict == "holds":
        return dataclasses.replace(claim, verdict="void", reason="the control holds as well")
    if len(measured) < max(len(values), 1):
        which = f"{len(values) - len(measured)} of {len(values)} seeds" if measured else "any seed"
        return dataclasses.replace(claim, verdict="void", reason=f"the control was not measured for {which}")
    if all(map(criterion.holds.is_met_by, measured)):
        reason = f"all {len(measured)} seeds of the control lie {criterion.holds} as well"
        return dataclasses.replace(claim, verdict="void", reason=reason)
    return claim


def apply_family(claim: Verdict, family_size: int) -> Verdict:
    """Tell a claim that holds within the error of its family from one that holds only by itself.

    Args:
        claim: The claim's verdict, after `apply_control`.
        family_size: How many claims share the error.

    Returns:
        The verdict; `holds alone` in place of `holds` where the p-value times the number of claims exceeds the error.
        The ledger, which knows the other claims' p-values, may find that it holds after all.
    """
    if claim.verdict != "holds" or claim.p_value is None or claim.p_value * family_size <= ERROR:
        return claim
    reason = f"{ALONE}{claim.reason}; {family_size} {SHARED}"
    return dataclasses.replace(claim, verdict="holds alone", reason=reason)


def lift_to_family(reason: str) -> str:
    """Return the reason of a claim that holds alone as that of one that holds.

    Args:
        reason: As `apply_family` wrote it; parts that others added stay.

    Example:
        >>> lift_to_family("for this claim alone, the mean is large; 4 claims of its family share the error")
        'the mean is large'
    """
    return "; ".join(part for part in reason.removeprefix(ALONE).split("; ") if not part.endswith(SHARED))


def note_scatter(claim: Verdict, values: Iterable[float | None], criterion: Criterion) -> Verdict:
    """Say in a verdict's reason if the seeds scatter more than the criterion declares: its error may then be larger.

    Args:
        claim: The verdict.
        values: Its values, one for each seed; None where not measured.
        criterion: The claim's criterion.

    Returns:
        The verdict, which stays as it is: a word that a wider scatter took back would not be monotone.
    """
    measured, declared = [value for value in values if value is not None], criterion.law.deviation
    if declared is None or len(measured) < 2 or statistics.stdev(measured) <= declared:
        return claim
    found = f"seeds scatter by {statistics.stdev(measured):.2g}, more than the {declared:g} declared"
    return dataclasses.replace(claim, reason=f"{claim.reason}; {found}")


def is_open(claim: Verdict, control: Verdict) -> bool:
    """Report whether further seeds could change a claim's verdict.

    Args:
        claim: The claim's verdict, after `apply_control`.
        control: The control's verdict.

    Returns:
        True if all seeds were measured and the claim is inconclusive, holds only by itself, or is void only because the
        control's seeds are too few to decide.
    """
    if claim.reason.startswith(CONTRADICTION):
        return False
    if claim.verdict == "void":
        return control.verdict == "inconclusive" and control.p_value is not None
    return claim.verdict in ("inconclusive", "holds alone") and claim.p_value is not None


def _check_values(measured: Sequence[float], criterion: Criterion) -> None:
    """Raise ValueError for values that the criterion does not allow."""
    if criterion.law.statistic == "share" and not set(measured) <= {0, 1}:
        raise ValueError("criterion: a share needs the value 0 or 1 of each seed; for other values use mean or median")
    low, high = criterion.law.value_range
    # Means of single-precision numbers may pass an end by their rounding.
    slack = 1e-6 * criterion.law.extent
    if not all(low - slack <= value <= high + slack for value in measured):
        raise ValueError(f"criterion: values must lie between {low:g} and {high:g}, but the seeds have {measured}")


def _decide(values: Sequence[float], absent: list[int], criterion: Criterion) -> tuple[str, str]:
    """The verdict's word and its reason."""
    n, law, holds, fails = len(values), criterion.law, criterion.holds, criterion.fails
    if absent:
        return "inconclusive", f"not measured for {_list_seeds(absent)}"
    if n < MIN_SEEDS:
        return "inconclusive", f"{n} seeds are too few: at least {MIN_SEEDS} are needed"
    sides = [holds, fails] if holds.value == fails.value else [holds, fails, holds.opposite, fails.opposite]
    shown = {side: is_beyond(values, law, side) for side in sides}
    # The largest capital so far is kept, so seeds that scatter far more than expected can show both sides of a number.
    for one, other in ((holds, fails), (holds, holds.opposite), (fails, fails.opposite)):
        if shown.get(one) and shown.get(other):
            return "inconclusive", f"{CONTRADICTION}: some show {one}, and others {other}"
    estimate = _estimate(values, criterion)
    for name, side in (("holds", holds), ("fails", fails)):
        if shown[side] and side.is_met_by(estimate):
            return name, f"the {law.statistic} is shown to be {side}"
    if shown.get(holds.opposite) and shown.get(fails.opposite):
        return "in between", f"the {law.statistic} is shown to be {holds.opposite} and {fails.opposite}"
    needed = [min_seeds(law, threshold) for threshold in (holds, fails)]
    if all(least is None or least > n for least in needed):
        ways = [f"{least} to be {side}" for least, side in zip(needed, (holds, fails), strict=True) if least]
        return "inconclusive", f"{n} seeds are too few, whatever their values: at least {', '.join(ways)}"
    return "inconclusive", f"the {n} seeds show neither {holds} nor {fails}"


def _estimate(values: Sequence[float], criterion: Criterion) -> float:
    """The criterion's statistic of some values."""
    return float((statistics.median if criterion.law.statistic == "median" else statistics.fmean)(values))


def _list_seeds(seeds: Sequence[int]) -> str:
    """Name seeds, not all of them where there are many."""
    listed = ", ".join(map(str, seeds[:8])) + (f" and {len(seeds) - 8} more" if len(seeds) > 8 else "")
    return f"seed{'s' if len(seeds) > 1 else ''} {listed}"
