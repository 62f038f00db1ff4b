"""From one number a seed to a verdict.

The seeds of an arm are the sample: intervals speak of what other seeds of the same
configuration would give, and of nothing else. With few seeds they are wide, as they should
be: a 95 % Student interval reaches 2.5 standard deviations to either side of the mean of 3
seeds, 1.2 of 5 and 0.7 of 10.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import bdtr, betainc, betaincinv, stdtr, stdtrit

TAIL = 0.025
"""What a 95 % interval leaves out at either end."""
FEWEST_SEEDS = 3
FEWEST_FOR_MEDIAN = 6
"""The smallest and largest of fewer values enclose the median less often than 95 times in 100."""
STATISTICS = ("mean", "median", "share")
ALIKE = 1e-9
"""Values that differ by no more than this share of the largest are the same value, computed in another order."""


@dataclass(frozen=True)
class Bound:
    """One side of a threshold; the threshold itself is on neither."""

    side: str
    threshold: float

    def __post_init__(self) -> None:
        if self.side not in ("above", "below") or not math.isfinite(self.threshold):
            raise ValueError(f"a bound is `above: number` or `below: number`, not {self.side}: {self.threshold}")

    def __str__(self) -> str:
        return f"{self.side} {self.threshold:g}"

    def beyond(self, value: float) -> bool:
        return value > self.threshold if self.side == "above" else value < self.threshold


@dataclass(frozen=True)
class Criterion:
    """When a claim holds and when it fails; in between it is undecided."""

    statistic: str
    """mean or median over seeds; share: of seeds for which it is so, where each says 0 or 1."""
    holds: Bound
    fails: Bound
    between: tuple[float, float] | None = None
    """Between what the values of single seeds lie, if anything is known; for a share 0 and 1."""

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"a criterion's statistic is {', '.join(STATISTICS)}, not {self.statistic!r}")
        if self.holds.side == self.fails.side or self.holds.beyond(self.fails.threshold):
            raise ValueError(f"a claim cannot both hold and fail: holds {self.holds}, fails {self.fails}")

    def __str__(self) -> str:
        return f"{self.statistic} {self.holds} (fails {self.fails})"


@dataclass(frozen=True)
class Verdict:
    """What the evidence says; numbers that cannot be had are None."""

    verdict: str
    """holds, fails or inconclusive."""
    reason: str
    n_seeds: int
    """Seeds with a value."""
    estimate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """One-sided, against the threshold beyond which the claim holds."""


def read_criterion(given: Mapping) -> Criterion:
    """A criterion from `{statistic, holds: {above: x}, fails: {below: y}, between: [low, high]}`; raises ValueError."""
    bounds = {}
    for name in ("holds", "fails"):
        if len(given[name]) != 1:
            raise ValueError(f"criterion.{name} is `above: number` or `below: number`, not {given[name]}")
        bounds[name] = Bound(*next(iter(given[name].items())))
    between = (0, 1) if given["statistic"] == "share" else given.get("between")
    return Criterion(given["statistic"], **bounds, between=tuple(between) if between else None)


def interval(
    values: Sequence[float], statistic: str, between: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """A 95 % confidence interval of the statistic; None if these values do not give one.

    Mean: Student's t, which takes seeds to scatter normally. If all give the same they do not: then
    97.5 times in 100 at least a share 0.025^(1/n) of all seeds gives it, and the others may lie
    anywhere between the ends that `between` tells; without these there is no interval. Median:
    between two order statistics, by the exact binomial; it takes nothing for granted. Share:
    Clopper's and Pearson's, exact.
    """
    n = len(values)
    if statistic == "share":
        yes = sum(values)
        low = float(betaincinv(yes, n - yes + 1, TAIL)) if yes else 0.0
        return (low, float(betaincinv(yes + 1, n - yes, 1 - TAIL)) if yes < n else 1.0) if n else None
    if statistic == "median":
        # Outside lie, at each end, as many values as have at most a 2.5 % chance to be on one side of the median.
        outside = sum(bool(bdtr(k, n, 0.5) <= TAIL) for k in range(n))
        return (sorted(values)[outside - 1], sorted(values)[-outside]) if outside else None
    if n < 2:
        return None
    centre = statistics.fmean(values)
    if agree(values):
        alike = TAIL ** (1 / n)
        return tuple(alike * centre + (1 - alike) * end for end in between) if between else None
    reach = float(stdtrit(n - 1, 1 - TAIL)) * statistics.stdev(values) / math.sqrt(n)
    return centre - reach, centre + reach


def p_value(values: Sequence[float], statistic: str, bound: Bound, between: tuple[float, float] | None = None) -> float:
    """How often chance alone puts values this far beyond the bound, were the truth at the bound.

    Of values that have an interval. Mean: one-sided t-test; if all are the same, the probability of
    that in the worst case. Median: sign test, a value at the bound counting against. Share: exact
    binomial test. Below 0.025 just where the 95 % interval lies beyond the bound.
    """
    n = len(values)
    if statistic == "share":
        beyond = int(sum(values) if bound.side == "above" else n - sum(values))
        chance = bound.threshold if bound.side == "above" else 1 - bound.threshold
        return float(betainc(beyond, n - beyond + 1, chance)) if beyond else 1.0
    if statistic == "median":
        short_of_it = sum(not bound.beyond(value) for value in values)
        return float(bdtr(short_of_it, n, 0.5))
    centre = statistics.fmean(values)
    if agree(values):
        return _room(centre, bound, between) ** n if bound.beyond(centre) else 1.0
    t = (centre - bound.threshold) / (statistics.stdev(values) / math.sqrt(n))
    return float(stdtr(n - 1, -t if bound.side == "above" else t))


def verdict(values: Mapping[int, float | None], seeds: Iterable[int], criterion: Criterion) -> Verdict:
    """Judge one number a seed. `values`: seed -> value, None where not measured; `seeds`: all that should be there.

    The claim holds (fails) if the whole 95 % interval lies beyond the bound where it holds (fails).
    It is inconclusive otherwise, or if there is no interval, or if fewer than three seeds or not all
    of them have a value: a seed that could not be measured is likely to be an unusual one. Raises
    ValueError where a share is asked for and a seed says something else than 0 or 1, and where a
    value does not lie between the criterion's ends.
    """
    absent = sorted(seed for seed in {*values, *seeds} if values.get(seed) is None)
    measured = [values[seed] for seed in sorted(values) if values[seed] is not None]
    if criterion.statistic == "share" and not set(measured) <= {0, 1}:
        raise ValueError("criterion: a share is of seeds that say 0 or 1; for other values take mean or median")
    low, high = criterion.between or (-math.inf, math.inf)
    if not all(low - ALIKE <= value <= high + ALIKE for value in measured):
        raise ValueError(f"criterion: values are to lie between {low:g} and {high:g}, but seeds give {measured}")
    summary = statistics.median if criterion.statistic == "median" else statistics.fmean
    spans = interval(measured, criterion.statistic, criterion.between)
    enough = len(measured) >= FEWEST_SEEDS and not absent
    found, reason = _decide(measured, absent, spans, criterion)
    p = p_value(measured, criterion.statistic, criterion.holds, criterion.between) if enough and spans else None
    return Verdict(
        verdict=found,
        reason=reason,
        n_seeds=len(measured),
        estimate=float(summary(measured)) if measured else None,
        low=spans[0] if spans else None,
        high=spans[1] if spans else None,
        p_value=p,
    )


def agree(values: Sequence[float]) -> bool:
    """Whether all seeds give the same value."""
    return max(values) - min(values) <= ALIKE * max(map(abs, values))


def fewest_that_agree(value: float, bound: Bound, between: tuple[float, float]) -> int | None:
    """How many seeds that all give a value put the whole interval beyond the bound; None: no number does."""
    if not bound.beyond(value) or (room := _room(value, bound, between)) > 1 - ALIKE:
        return None
    return max(FEWEST_SEEDS, math.floor(math.log(TAIL) / math.log(room)) + 1)


def _room(value: float, bound: Bound, between: tuple[float, float]) -> float:
    """The largest share of seeds that may give a value beyond the bound while the mean of all lies at the bound."""
    end = between[0] if bound.side == "above" else between[1]
    return (bound.threshold - end) / (value - end)


def _decide(
    values: Sequence[float], absent: list[int], spans: tuple[float, float] | None, criterion: Criterion
) -> tuple[str, str]:
    n = len(values)
    if absent:
        which = ", ".join(map(str, absent))
        return "inconclusive", f"not measured for seed{'s' if len(absent) > 1 else ''} {which}"
    if n < FEWEST_SEEDS:
        return "inconclusive", f"{n} seeds are too few: at least {FEWEST_SEEDS} are needed"
    if spans is None and criterion.statistic == "median":
        return "inconclusive", f"{n} seeds are too few for a median: at least {FEWEST_FOR_MEDIAN} are needed"
    if spans is None:
        reason = f"all {n} seeds give {values[0]:.4g}: without any spread a mean has no interval"
        return "inconclusive", f"{reason}, unless the criterion says between what values lie"
    for name, bound in (("holds", criterion.holds), ("fails", criterion.fails)):
        if all(map(bound.beyond, spans)):
            return name, f"the whole interval lies {bound}"
    for bound in (criterion.holds, criterion.fails):
        if criterion.between and agree(values) and (least := fewest_that_agree(values[0], bound, criterion.between)):
            return "inconclusive", f"{n} seeds that agree are too few: {least} are needed for an interval {bound}"
    return "inconclusive", f"the interval lies neither {criterion.holds} nor {criterion.fails}"


def with_control(claim: Verdict, control: Verdict, values: Iterable[float | None], criterion: Criterion) -> Verdict:
    """The claim's verdict, void if it holds where it must not; `values`: the control's, a number a seed.

    Or if all the control's seeds lie where the claim would hold: a control need not be certain to cast doubt.
    """
    measured = [value for value in values if value is not None]
    if claim.verdict == "holds" and control.verdict == "holds":
        return dataclasses.replace(claim, verdict="inconclusive", reason="the control holds as well")
    if claim.verdict == "holds" and measured and all(map(criterion.holds.beyond, measured)):
        reason = f"all {len(measured)} seeds of the control lie {criterion.holds} as well"
        return dataclasses.replace(claim, verdict="inconclusive", reason=reason)
    return claim


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's family-wise correction over all claims; one without a p-value counts as p = 1."""
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected
