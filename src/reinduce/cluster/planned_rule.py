"""What the files in workflow/rules make one rule of Snakemake of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PlannedRule:
    """One rule: a stage applied to one task, one job group, or one figure."""

    name: str
    """The name of the rule."""
    label: str
    """The name of its jobs in messages; it may contain wildcards, such as `{wildcards.seed}`."""
    inputs: Mapping[str, object]
    """Name → the files that a job reads, or a function from wildcards to them."""
    outputs: list[Path]
    """The files that a job writes."""
    log: str
    """The log of a job."""
    benchmark: str
    """The file with a job's time and memory."""
    params: Mapping[str, object]
    """Name → what else the command is called with; `rule` is the rule's name."""
    resources: Mapping[str, object] = field(default_factory=dict)
    """Resource → what a job requests, where that depends on more than the stage."""
    core_seconds: int = 0
    """The estimated seconds of one core that the trainings of a job group take."""
    report_entry: Mapping[str, object] = field(default_factory=dict)
    """For a figure: its caption, category and labels in Snakemake's report."""


def name_rule(stage: str, name: str) -> str:
    """Return the name of the rule for a stage and a task, job group or figure: letters, digits and underscores."""
    return re.sub(r"\W", "_", f"{stage}_{name}")
