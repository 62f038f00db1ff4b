"""Which heads to ablate: read from the score table, never by hand."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Head = tuple[int, int]
"""Layer and head."""


def heads_above_threshold(scores: Iterable[Mapping[str, Any]], metric: str, threshold: float) -> list[Head]:
    """Return heads whose score on a metric is at least the threshold, in order of layer and head.

    Args:
        scores: rows of table `scores` of one checkpoint.
        metric: the metric's name.
        threshold: in the metric's unit.
    """
    return sorted(
        (row["layer"], row["head"])
        for row in scores
        if row["metric"] == metric and row["value"] is not None and row["value"] >= threshold
    )


def layer_matched_random_heads(selected: Sequence[Head], layers: int, heads: int, seed: int) -> list[Head] | None:
    """Draw as many other heads as were selected, from the same layers as far as these reach.

    A layer that has too few others gives all it has, and the rest is drawn from the other layers.

    Args:
        selected: the heads to match.
        layers: layers of the model.
        heads: heads of each layer.
        seed: decides the draw.

    Returns:
        The heads, sorted; None if the model has fewer others than were selected.
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


def heads_name(heads: Iterable[Head]) -> str:
    """Return e.g. '1.3' for head 3 of the second layer, '0.1+1.3' for two heads.

    >>> heads_name([(0, 1), (1, 3)])
    '0.1+1.3'
    """
    return "+".join(f"{layer}.{head}" for layer, head in heads)
