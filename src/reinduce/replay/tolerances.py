"""How far means of tables may differ between two runs: what metrics declare, and columns without metrics."""

from collections.abc import Callable

from reinduce.config.declare import Tolerance
from reinduce.config.find import find_all
from reinduce.metrics.tolerances import NATS

COLUMNS = {
    "loss": NATS,
    "gradient_norm": Tolerance(relative=0.05, reason="A norm without a scale of its own; 0.6 % were seen."),
    "value": Tolerance(
        absolute=0.5,
        reason="Coordinates of loss components, in nats over some hundred tokens together; they are centred, so their "
        "mean means little.",
    ),
}
"""Column of a table without metrics → its tolerance."""

FindTolerance = Callable[[str, str], Tolerance | None]
"""Gives the tolerance of 'column of metric', or of a column, in tables of a study."""


def find_tolerance(name: str, study: str) -> Tolerance | None:
    """Find the tolerance of the mean of a metric or a column.

    Args:
        name: 'column of metric', or a column of a table without metrics.
        study: the study whose table it is; its own metrics count beside the library's.

    Returns:
        The tolerance; None if the mean must be equal.
    """
    column, _, metric = name.partition(" of ")
    if not metric:
        return COLUMNS.get(column)
    known = find_all("metric", study)
    declared = known.get(metric.split(":")[0])
    return declared.tolerance if declared is not None else None
