"""From one value for each seed to a verdict."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reinduce.judge.criteria import Criterion
from reinduce.judge.statistics import (
    EQUALITY_TOLERANCE,
    MIN_SEEDS,
    MIN_SEEDS_FOR_MEDIAN,
    all_equal,
    confidence_interval,
    min_equal_seeds,
    p_value,
)


@dataclass(frozen=True)
class Verdict:
    """What the evidence shows; a number is None where it cannot be computed."""

    verdict: str
    """holds, fails or inconclusive."""
    reason: str
    n_seeds: int
    """Seeds with a value."""
    estimate: float | None
    """The criterion's statistic over seeds."""
    ci_low: float | None
    """Lower end of the estimate's 95 % confidence interval."""
    ci_high: float | None
    """Upper end of the estimate's 95 % confidence interval."""
    p_value: float | None
    """One-sided, against the threshold beyond which the claim holds."""


def judge_seeds(values: Mapping[int, float | None], seeds: Iterable[int], criterion: Criterion) -> Verdict:
    """Judge one value for each seed.

    The claim holds (fails) if the whole 95 % interval is beyond the threshold where it holds
    (fails). It is inconclusive otherwise, if there is no interval, if fewer than three seeds have
    a value, or if any seed lacks one: a seed that could not be measured is likely to be unusual.

    Args:
        values: Seed → value; None where it was not measured.
        seeds: All seeds that should have a value.
        criterion: When the claim holds and fails.

    Returns:
        The verdict.

    Raises:
        ValueError: A share has a value other than 0 and 1, or a value is outside the criterion's range.
    """
    absent = sorted(seed for seed in {*values, *seeds} if values.get(seed) is None)
    measured = [value for _, value in sorted(values.items()) if value is not None]
    _check_values(measured, criterion)
    summary = statistics.median if criterion.statistic == "median" else statistics.fmean
    interval = confidence_interval(measured, criterion.statistic, criterion.value_range)
    enough = len(measured) >= MIN_SEEDS and not absent
    decision, reason = _decide(measured, absent, interval, criterion)
    p = None
    if enough and interval:
        p = p_value(measured, criterion.statistic, criterion.holds, criterion.value_range)
    return Verdict(
        verdict=decision,
        reason=reason,
        n_seeds=len(measured),
        estimate=float(summary(measured)) if measured else None,
        ci_low=interval[0] if interval else None,
        ci_high=interval[1] if interval else None,
        p_value=p,
    )


def apply_control(
    claim: Verdict, control: Verdict, control_values: Iterable[float | None], criterion: Criterion
) -> Verdict:
    """Make a claim inconclusive if it also holds for its control, where it must not hold.

    The same applies if every seed of the control is where the claim would hold: a control casts
    doubt even if its own interval is too wide to decide.

    Args:
        claim: The claim's verdict.
        control: The control's verdict.
        control_values: The control's values, one for each seed; None where not measured.
        criterion: The claim's criterion.

    Returns:
        The claim's verdict, with `inconclusive` and a reason in place of `holds` where the control forbids it.
    """
    measured = [value for value in control_values if value is not None]
    if claim.verdict == "holds" and control.verdict == "holds":
        return dataclasses.replace(claim, verdict="inconclusive", reason="the control holds as well")
    if claim.verdict == "holds" and measured and all(map(criterion.holds.is_met_by, measured)):
        reason = f"all {len(measured)} seeds of the control lie {criterion.holds} as well"
        return dataclasses.replace(claim, verdict="inconclusive", reason=reason)
    return claim


def _check_values(measured: Sequence[float], criterion: Criterion) -> None:
    """Raise ValueError for values that the criterion does not allow."""
    if criterion.statistic == "share" and not set(measured) <= {0, 1}:
        raise ValueError("criterion: a share needs the value 0 or 1 of each seed; for other values use mean or median")
    low, high = criterion.value_range or (-math.inf, math.inf)
    if not all(low - EQUALITY_TOLERANCE <= value <= high + EQUALITY_TOLERANCE for value in measured):
        raise ValueError(f"criterion: values must lie between {low:g} and {high:g}, but the seeds have {measured}")


def _decide(
    values: Sequence[float], absent: list[int], interval: tuple[float, float] | None, criterion: Criterion
) -> tuple[str, str]:
    """The verdict's word and its reason."""
    n = len(values)
    if absent:
        which = ", ".join(map(str, absent))
        return "inconclusive", f"not measured for seed{'s' if len(absent) > 1 else ''} {which}"
    if n < MIN_SEEDS:
        return "inconclusive", f"{n} seeds are too few: at least {MIN_SEEDS} are needed"
    if interval is None and criterion.statistic == "median":
        return "inconclusive", f"{n} seeds are too few for a median: at least {MIN_SEEDS_FOR_MEDIAN} are needed"
    if interval is None:
        reason = f"all {n} seeds give {values[0]:.4g}: without any spread a mean has no interval"
        return "inconclusive", f"{reason}, unless the criterion has a value_range"
    for name, threshold in (("holds", criterion.holds), ("fails", criterion.fails)):
        if all(map(threshold.is_met_by, interval)):
            return name, f"the whole interval lies {threshold}"
    if criterion.value_range and all_equal(values):
        for threshold in (criterion.holds, criterion.fails):
            needed = min_equal_seeds(values[0], threshold, criterion.value_range)
            if needed:
                return "inconclusive", f"{n} equal seeds are too few: {needed} are needed for an interval {threshold}"
    return "inconclusive", f"the interval lies neither {criterion.holds} nor {criterion.fails}"
