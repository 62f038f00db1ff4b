"""What authors write about a paper's claims, as types: claims.yaml and calibration.yaml of a study's folder."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reinduce.config.user_config import Name, Strict

Text = Annotated[str, Field(pattern=r"\S")]
"""Text that is not empty."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Calibration(Strict):
    """An entry of workflow/studies/<key>/calibration.yaml: runs by which something was chosen."""

    arms: list[Name] = Field(min_length=1)
    """Arms that were trained."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    """Their seeds, none of which is judged."""
    code: Text = "this"
    """The code that trained them, if it was another: its seeds are other runs."""
    for_: Text = Field(alias="for")
    """What was chosen by them, and what was seen."""


class Source(Strict):
    """Where a paper makes a claim."""

    paper: Text
    """The paper, by study key."""
    where: Text
    """The section, figure or table."""


class Side(Strict):
    """One side of a number: exactly one of `above` and `below`."""

    above: Finite | None = None
    """Larger values than this."""
    below: Finite | None = None
    """Smaller values than this."""

    @model_validator(mode="after")
    def _one(self):
        if (self.above is None) == (self.below is None):
            raise ValueError("give exactly one of above, below")
        return self


class Deviation(Strict):
    """A bound on how far seeds scatter, known before the judged run."""

    at_most: float = Field(gt=0, allow_inf_nan=False)
    """The largest standard deviation that the values of seeds can have."""
    why: Text
    """Where the bound comes from: seeds that are never judged, or the quantity itself."""


class Criterion(Strict):
    """When a claim holds, written before the run."""

    statistic: Literal["mean", "median", "share"]
    """Over seeds; share: that of seeds with value 1, where each value is 0 or 1."""
    holds: Side
    """Where the statistic must be shown to lie for the claim to hold."""
    fails: Side
    """Where the statistic must be shown to lie for the claim to fail."""
    value_range: tuple[Finite | None, Finite | None] | None = None
    """The least and the largest value that a seed can have; null where there is none."""
    deviation: Deviation | None = None
    """How far seeds can scatter; a mean needs it or a value_range with two ends."""
    why: Text
    """Why these numbers, and where they come from."""

    @model_validator(mode="after")
    def _apart(self):
        up = self.holds.above is not None
        if up != (self.fails.below is not None):
            raise ValueError("holds and fails must lie on opposite sides: one above, one below")
        if (up and self.holds.above < self.fails.below) or (not up and self.holds.below > self.fails.above):
            raise ValueError("holds and fails overlap")
        sides = (self.holds, self.fails)
        thresholds = [value for side in sides for value in (side.above, side.below) if value is not None]
        least, largest = self.value_range or (None, None)
        if self.statistic == "mean" and None in (least, largest) and self.deviation is None:
            raise ValueError(
                "a mean needs a deviation or a value_range with two ends: without a limit, one seed can be anything"
            )
        if None not in (least, largest) and least >= largest:
            raise ValueError("value_range: the least value comes first")
        if self.statistic != "mean" and self.deviation is not None:
            raise ValueError(f"a {self.statistic} needs no deviation")
        if self.statistic == "share" and self.value_range is not None:
            raise ValueError("a share needs no value_range: its values are 0 and 1")
        if self.statistic == "share" and not all(0 < threshold < 1 for threshold in thresholds):
            raise ValueError("a share lies between 0 and 1, and so must its thresholds")
        if any(
            (least is not None and threshold <= least) or (largest is not None and threshold >= largest)
            for threshold in thresholds
        ):
            raise ValueError("the thresholds of holds and fails must lie within value_range")
        return self


class Control(Strict):
    """The same evidence where the claim must not hold."""

    with_: dict[str, str | int | Finite | bool] = Field(alias="with")
    """Parameters of the query that replace the claim's."""
    why: Text
    """Why the claim must not hold there."""


class PaperValue(Strict):
    """What the paper says itself; of a big model it is context, and never reproduced here."""

    text: Text
    """In its words."""
    value: Finite | None = None
    """Its number, if it gives one."""
    interval: tuple[Finite, Finite] | None = None
    """The range that it gives, over seeds, heads or models."""
    unit: str | None = None
    """Of value and interval; null: the claim's."""
    compare: Literal["direct", "rescaled", "direction"]
    """How it compares with ours: the same quantity (direct), the same on models, budgets or data of another size
    (rescaled), or a direction alone."""

    @model_validator(mode="after")
    def _ascends(self):
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError("interval: the lower end comes first")
        return self


class Claim(Strict):
    """A statement from a paper, its evidence, and its criterion."""

    id: Name
    """Its name within the study."""
    claim_number: Text
    """Its number in the study's notes."""
    statement: Text
    """What is claimed, in one sentence."""
    source: Source
    """Where the paper makes the claim."""
    family: str | None = None
    """The argument of the paper that it belongs to, whose claims share the error of 2.5 %; null: `source.where`."""
    paper_value: PaperValue
    """The paper's own number, as context."""
    reads: dict[str, list[str]]
    """table → arms; $name stands for a parameter of `with`."""
    with_: dict[str, str | int | Finite | bool] = Field(alias="with", default={})
    """Values of the parameters of the query and of `reads`."""
    evidence: Text
    """SQL with one row for each seed: seed, value."""
    unit: Text
    """What the value is."""
    criterion: Criterion
    """When the claim holds."""
    control: Control
    """Where it must not hold."""
    figure: str
    """The figure that shows it."""
    scope: str = ""
    """What the verdict does not cover."""
