"""When a claim holds and when it fails: thresholds on a statistic over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATISTICS = ("mean", "median", "share")
"""Statistics over seeds that a criterion may use."""
EQUALITY_TOLERANCE = 1e-9
"""A value that differs from a threshold by at most this share of it, or of a thousandth, lies on it: it was computed in
another order."""


@dataclass(frozen=True)
class Threshold:
    """One side of a number; the number itself is not part of it."""

    side: str
    """above or below."""
    value: float

    def __post_init__(self) -> None:
        if self.side not in ("above", "below") or not math.isfinite(self.value):
            raise ValueError(f"a threshold is `above: number` or `below: number`, not {self.side}: {self.value}")

    def __str__(self) -> str:
        return f"{self.side} {self.value:g}"

    @property
    def opposite(self) -> "Threshold":
        """The other side of the same number."""
        return Threshold("below" if self.side == "above" else "above", self.value)

    @property
    def slack(self) -> float:
        """How far from the number a value may be that lies on it."""
        return EQUALITY_TOLERANCE * max(abs(self.value), 1e-3)

    def is_met_by(self, value: float) -> bool:
        """Report whether a value is on this side of the number.

        Args:
            value: Any number.

        Returns:
            True if the value is on this side, and not on the number but for rounding.

        Example:
            >>> Threshold("above", 0.5).is_met_by(0.5)
            False
        """
        return (value - self.value if self.side == "above" else self.value - value) > self.slack


@dataclass(frozen=True)
class SeedLaw:
    """A statistic over all seeds, and what is known of their values before they are seen."""

    statistic: str
    """mean or median over seeds, or the share of seeds with value 1, where each value is 0 or 1."""
    value_range: tuple[float, float] = (-math.inf, math.inf)
    """The least and the largest value that a seed can have; infinite where there is none. 0 and 1 for a share."""
    deviation: float | None = None
    """The largest standard deviation that seeds can have, if that is known. A mean is then decided by it, and
    intervals are cut at the range."""

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"a criterion's statistic is {', '.join(STATISTICS)}, not {self.statistic!r}")
        if self.statistic == "mean" and self.deviation is None and not all(map(math.isfinite, self.value_range)):
            raise ValueError(
                "a mean needs a deviation or a value_range with two ends: a mean of values without any limit cannot be"
                " known"
            )

    @property
    def extent(self) -> float:
        """How far apart values can lie: the length of the range, else the deviation; 0 if neither is known."""
        least, largest = self.value_range
        return largest - least if math.isfinite(largest - least) else self.deviation or 0.0


@dataclass(frozen=True)
class Criterion:
    """When a claim holds and when it fails; in between it does neither."""

    law: SeedLaw
    holds: Threshold
    fails: Threshold

    def __post_init__(self) -> None:
        if self.holds.side == self.fails.side or self.holds.is_met_by(self.fails.value):
            raise ValueError(f"a claim cannot both hold and fail: holds {self.holds}, fails {self.fails}")

    def __str__(self) -> str:
        return f"{self.law.statistic} {self.holds} (fails {self.fails})"


def read_criterion(values: Mapping[str, Any]) -> Criterion:
    """Read a criterion as claims.yaml has it.

    Args:
        values: `{statistic, holds: {above: x}, fails: {below: y}, value_range: [least, largest],
            deviation: {at_most: z}}`; the last two may be left out, either end of the range may be null, and further
            keys are ignored.

    Returns:
        The criterion.

    Raises:
        ValueError: A threshold is malformed, the statistic is unknown, too little is known of the values, or a claim
            could both hold and fail.

    Example:
        >>> share = {"statistic": "share", "holds": {"above": 0.7}, "fails": {"below": 0.3}}
        >>> str(read_criterion(share))
        'share above 0.7 (fails below 0.3)'
    """
    thresholds = {}
    for name in ("holds", "fails"):
        if len(values[name]) != 1:
            raise ValueError(f"criterion.{name} is `above: number` or `below: number`, not {values[name]}")
        thresholds[name] = Threshold(*next(iter(values[name].items())))
    least, largest = (0, 1) if values["statistic"] == "share" else values.get("value_range") or (None, None)
    value_range = (-math.inf if least is None else least, math.inf if largest is None else largest)
    deviation = (values.get("deviation") or {}).get("at_most")
    return Criterion(SeedLaw(values["statistic"], value_range, deviation), **thresholds)
