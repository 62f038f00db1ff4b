"""How checkpoints are measured and heads are ablated: settings of a scale, in plain dataclasses."""

from dataclasses import dataclass, field

from reinduce.config.job_specs import STRICT, require


@dataclass(frozen=True, kw_only=True)
class PositionRanges:
    """Two ranges of token indices whose losses are compared; both ends belong to a range."""

    __pydantic_config__ = STRICT

    early: tuple[int, int]
    """First and last index of the early range."""
    late: tuple[int, int]
    """First and last index of the late range."""

    def __post_init__(self) -> None:
        for name in ("early", "late"):
            low, high = getattr(self, name)
            require(1 <= low <= high, f"{name} must be a range of indices from 1 on, not {low} to {high}")

    @property
    def name(self) -> str:
        """E.g. '112-127/8-13', or '126/12' for single indices."""
        return "/".join("-".join(str(i) for i in sorted(set(r))) for r in (self.late, self.early))


@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """How checkpoints are measured: the settings stored with every score."""

    __pydantic_config__ = STRICT

    icl_position_ranges: list[PositionRanges]
    """Index pairs of the in-context-learning score; the first is the one claims use."""
    loss_slope_positions: tuple[int, int]
    """Token indices over which the derivative of loss by log index is averaged."""
    metrics: list[str] | None = None
    """Names of the metrics that are measured, and with them those they need; null: all that the arm can have."""
    induction_threshold: float = 0.3
    """Score from which a head counts as an induction head, for the step at which the first one forms."""

    def __post_init__(self) -> None:
        require(bool(self.icl_position_ranges), "icl_position_ranges needs at least one index pair")


@dataclass(frozen=True, kw_only=True)
class HeadSelection:
    """Heads that are ablated together: those with a score of some height at the last checkpoint."""

    __pydantic_config__ = STRICT

    name: str
    """What the table calls the selection."""
    metric: str
    """The metric of heads by which they are selected."""
    at_least: float
    """The smallest score of a selected head."""


@dataclass(frozen=True, kw_only=True)
class AblateSpec:
    """How heads are ablated."""

    __pydantic_config__ = STRICT

    examples: int
    """Held-out documents on which a joint ablation's effect is measured: the last ones, on which no head was chosen."""
    sweep_examples: int | None = None
    """The same for the sweeps over every head and every pair, the first of them; null: as many."""
    sweep_methods: tuple[str, ...] = ("zero", "mean", "resample")
    """What the sweeps put in place of a head's output; joint ablations always put all three."""
    selections: list[HeadSelection] = field(default_factory=list)
    """Heads that are ablated together at the last checkpoint."""
    replicates: int = 8
    """Random sets of heads, matched by layer to the first selection, beside each joint ablation."""

    def __post_init__(self) -> None:
        require(self.examples > 0, f"examples must be positive, not {self.examples}")
        require(self.replicates >= 0, f"replicates must be 0 or more, not {self.replicates}")
        methods = ("zero", "mean", "resample")
        unknown = [method for method in self.sweep_methods if method not in methods]
        require(not unknown, f"sweep_methods: no {', '.join(unknown)}; there are: {', '.join(methods)}")
        swept = self.sweep_examples
        require(
            swept is None or 1 < swept <= self.examples,
            f"sweep_examples must lie between 2 and examples ({self.examples}), not {swept}",
        )
