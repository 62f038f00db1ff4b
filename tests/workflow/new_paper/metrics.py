"""Metrics of Mine et al. (2027)."""

from reinduce.config.declare import metric
from reinduce.metrics.tolerances import SHARES


@metric(
    level="head",
    unit="share of attention",
    evaluation_set="heldout",
    sites=("attention",),
    null="the mean of one over the position",
    tolerance=SHARES,
)
def attention_two_back(inputs, layer):
    """Mean attention to the token two back, which an alternation repeats."""
    return inputs.attention(layer, [2])[0][..., 2:].mean(dim=(0, 2))
