"""When a claim holds and when it fails: thresholds on a statistic over seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATISTICS = ("mean", "median", "share")
"""Statistics over seeds that a criterion may use."""


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

    def is_met_by(self, value: float) -> bool:
        """Report whether a value is on this side of the number.

        Args:
            value: Any number.

        Returns:
            True if the value is strictly on this side.

        Example:
            >>> Threshold("above", 0.5).is_met_by(0.5)
            False
        """
        return value > self.value if self.side == "above" else value < self.value


@dataclass(frozen=True)
class Criterion:
    """When a claim holds and when it fails; in between it is undecided."""

    statistic: str
    """mean or median over seeds, or the share of seeds with value 1, where each value is 0 or 1."""
    holds: Threshold
    fails: Threshold
    value_range: tuple[float, float] | None = None
    """The least and the largest value that a seed can have, if they are known; 0 and 1 for a share."""

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"a criterion's statistic is {', '.join(STATISTICS)}, not {self.statistic!r}")
        if self.holds.side == self.fails.side or self.holds.is_met_by(self.fails.value):
            raise ValueError(f"a claim cannot both hold and fail: holds {self.holds}, fails {self.fails}")

    def __str__(self) -> str:
        return f"{self.statistic} {self.holds} (fails {self.fails})"


def read_criterion(values: Mapping[str, Any]) -> Criterion:
    """Read a criterion as claims.yaml has it.

    Args:
        values: `{statistic, holds: {above: x}, fails: {below: y}, value_range: [least, largest]}`; the last may be
            left out, and further keys are ignored.

    Returns:
        The criterion.

    Raises:
        ValueError: A threshold is malformed, the statistic is unknown, or a claim could both hold and fail.

    Example:
        >>> str(read_criterion({"statistic": "mean", "holds": {"above": 0.7}, "fails": {"below": 0.3}}))
        'mean above 0.7 (fails below 0.3)'
    """
    thresholds = {}
    for name in ("holds", "fails"):
        if len(values[name]) != 1:
            raise ValueError(f"criterion.{name} is `above: number` or `below: number`, not {values[name]}")
        thresholds[name] = Threshold(*next(iter(values[name].items())))
    value_range = (0, 1) if values["statistic"] == "share" else values.get("value_range")
    if value_range:
        least, largest = value_range
        value_range = least, largest
    return Criterion(values["statistic"], **thresholds, value_range=value_range or None)
