"""Select the heads to ablate from the score table."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

Head = tuple[int, int]
"""Layer and head."""


def heads_above_threshold(scores: Iterable[dict], metric: str, threshold: float) -> list[Head]:
    """Select the heads whose score on a metric is at least a threshold.

    Args:
        scores: rows of the `scores` table.
        metric: the metric's name.
        threshold: the lowest score of a selected head, in the metric's unit.

    Returns:
        The heads, in order of layer and head.
    """
    return sorted(
        (row["layer"], row["head"])
        for row in scores
        if row["metric"] == metric and row["value"] is not None and row["value"] >= threshold
    )


def layer_matched_random_heads(selected: Sequence[Head], layers: int, heads: int, seed: int) -> list[Head] | None:
    """Draw as many other heads at random, from the same layers as far as possible.

    A layer with too few other heads gives all it has; the rest is drawn from the other layers.

    Args:
        selected: the heads to match; none of them is drawn.
        layers: number of layers of the model.
        heads: number of heads of each layer.
        seed: of the random generator.

    Returns:
        The heads, in order of layer and head; None if nothing is selected, or the model has too few other heads.
    """
    generator = random.Random(seed)
    others = [(layer, head) for layer in range(layers) for head in range(heads) if (layer, head) not in set(selected)]
    if len(others) < len(selected) or not selected:
        return None
    generator.shuffle(others)
    missing = Counter(layer for layer, _ in selected)
    drawn = []
    for head in others:
        if missing[head[0]] > 0:
            missing[head[0]] -= 1
            drawn.append(head)
    rest = [head for head in others if head not in drawn]
    return sorted(drawn + rest[: len(selected) - len(drawn)])
