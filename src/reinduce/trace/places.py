"""Where settings lie below a folder of results, and where each stage's outputs do.

A file is known by its place, not by what lies beside it: whatever lies where a stage writes must have that stage's
manifest, and nothing else counts as a setting.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_STUDY, _NAME = "[a-z0-9_]+", "[a-z0-9-]+"
_SEED = rf"(?P<arm>{_STUDY}/{_NAME})/(?P<seed>seed\d+)"

SETTINGS = re.compile(
    rf"data/[^/]+/task\.json|{_STUDY}/{_NAME}/(train|metrics|ablate)\.json|{_STUDY}/(seeds|claims/{_NAME})\.json"
)
"""Files that the configuration resolves to."""


@dataclass(frozen=True)
class Place:
    """Where a stage's outputs lie, and what it cannot make them without."""

    command: str
    """The stage's command."""
    module: str
    """The module or package whose sources determine its outputs."""
    outputs: str
    """A regular expression of file names below the results."""
    inputs: tuple[str, ...]
    """Patterns of file names, each of which some input has; {groups} are those of `outputs`."""
    has_others: bool = True
    """Whether it may also read files of other names, or from outside of the results."""

    def find_absent_input(self, output: str, inputs: Sequence[str]) -> str | None:
        """Find an input that the stage must have read and that is not among some files.

        Args:
            output: Name of an output below the results.
            inputs: Names of files below the results.

        Returns:
            The pattern of the first absent input; None if there is none.
        """
        return next((p for p in self._patterns(output) if not any(fnmatchcase(name, p) for name in inputs)), None)

    def find_foreign_input(self, output: str, inputs: Sequence[str], outside: Sequence[str]) -> str | None:
        """Find an input that the stage does not read.

        Args:
            output: Name of an output below the results.
            inputs: Names of files below the results.
            outside: Names of other files.

        Returns:
            The first foreign input; None if there is none.
        """
        if self.has_others:
            return None
        patterns = self._patterns(output)
        foreign = (name for name in inputs if not any(fnmatchcase(name, p) for p in patterns))
        return next((name for names in (outside, foreign) for name in names), None)

    def _patterns(self, output: str) -> list[str]:
        match = re.fullmatch(self.outputs, output)
        groups = match.groupdict() if match else {}
        return [pattern.format(**groups) for pattern in self.inputs]


PLACES = (
    Place("data", "reinduce.data", r"data/(?P<task>[^/]+)/.+", ("data/{task}/task.json",)),
    Place("train", "reinduce.train", rf"{_SEED}/train/.+", ("{arm}/train.json",)),
    Place(
        "score",
        "reinduce.score.command",
        rf"{_SEED}/score/.+",
        ("{arm}/train.json", "{arm}/metrics.json", "{arm}/{seed}/train/checkpoints/*.safetensors"),
    ),
    Place(
        "series",
        "reinduce.score.series",
        rf"(?P<study>{_STUDY})/series/[^/]+/(?P<arm>{_NAME})\.(?P<seed>seed\d+)(\.trajectories)?\.parquet",
        ("{study}/{arm}/{seed}/score/token_losses.parquet", "{study}/{arm}/{seed}/score/trajectories.parquet"),
    ),
    Place(
        "ablate",
        "reinduce.ablate",
        rf"{_SEED}/ablate/.+",
        ("{arm}/train.json", "{arm}/ablate.json", "{arm}/{seed}/train/checkpoints/*.safetensors"),
    ),
    Place(
        "attribute",
        "reinduce.attribute",
        rf"{_SEED}/attribute/.+",
        ("{arm}/train.json", "{arm}/{seed}/train/checkpoints/*.safetensors"),
    ),
    Place(
        "look",
        "reinduce.judge",
        rf"looks/(?P<study>{_STUDY})\.(?P<name>{_NAME})/look\d+\.json",
        ("{study}/claims/{name}.json", "*.parquet"),
    ),
    Place(
        "judge",
        "reinduce.judge",
        rf"claims/(?P<study>{_STUDY})\.(?P<name>{_NAME})\.json",
        ("{study}/claims/{name}.json", "looks/{study}.{name}/look*.json"),
        has_others=False,
    ),
    Place("ledger", "reinduce.judge", r"ledger\.(parquet|json)", ("claims/*.json",), has_others=False),
    Place("figure", "reinduce.report", r"figures/.+", ("*/train.json",)),
    Place("index", "reinduce.report", r"(index|seeds)\.html", ("ledger.json",)),
)
"""The place of each stage."""


def find_place(name: str) -> Place | None:
    """Find the stage that makes a file.

    Args:
        name: The file's name below the results.

    Returns:
        The stage's place; None if no stage makes such a file.

    Example:
        >>> find_place("paper/arm/seed0/score/step00000010.parquet").command
        'score'
    """
    return next((place for place in PLACES if re.fullmatch(place.outputs, name)), None)
