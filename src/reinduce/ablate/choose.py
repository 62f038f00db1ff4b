"""Which heads to ablate: read from the score table, never by hand."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

Head = tuple[int, int]
"""Layer and head."""


def above(scores: Iterable[dict], metric: str, threshold: float) -> list[Head]:
    """Heads whose score on `metric` is at least `threshold`, in order of layer and head."""
    return sorted(
        (row["layer"], row["head"])
        for row in scores
        if row["metric"] == metric and row["value"] is not None and row["value"] >= threshold
    )


def matched_draw(chosen: Sequence[Head], layers: int, heads: int, seed: int) -> list[Head] | None:
    """As many other heads as were chosen, drawn at random, from the same layers as far as these reach.

    A layer that has too few others gives all it has, and the rest is drawn from the other
    layers. None if the model has fewer others than were chosen.
    """
    generator = random.Random(seed)
    others = [(layer, head) for layer in range(layers) for head in range(heads) if (layer, head) not in set(chosen)]
    if len(others) < len(chosen) or not chosen:
        return None
    generator.shuffle(others)
    wanted = Counter(layer for layer, _ in chosen)
    drawn = []
    for head in others:
        if wanted[head[0]] > 0:
            wanted[head[0]] -= 1
            drawn.append(head)
    rest = [head for head in others if head not in drawn]
    return sorted(drawn + rest[: len(chosen) - len(drawn)])
