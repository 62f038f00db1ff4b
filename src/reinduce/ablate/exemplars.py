"""What heads do to the answers of a run on exemplars (Singh et al. 2024).

Rows of `ablations`, by `chosen` (why these heads) and `edit` (what stays as it was):

- `single`: each head silenced alone (`full`);
- `all_but`: all heads of the last layer but one, which `head` names;
- `strongest`: all heads of the last layer but the `draw` strongest;
- `layer`: all heads of a layer; of the one below the last also with the last one's patterns
  kept, its values kept, and both (what then changes is the path around the last layer);
- `previous_token`, `others`: the heads below the last layer that attend from a label to its
  exemplar, and those that do not, in the same three ways;
- `wire`: one head (`draw`) of the layer below and one of the last layer (`head`) speak alone,
  with the last layer's values or patterns kept.

Metrics are those of `answered`, on sequences like those of training. Shape suffixes: B
sequence, H head.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from reinduce.ablate.choose import Head, above
from reinduce.model.sites import Edit
from reinduce.model.transformer import Transformer
from reinduce.task.exemplars import QUERY, answered

PREVIOUS_TOKEN = 0.4
"""Attention from labels to their exemplars from which a head counts as a previous-token head."""

KEPT = {
    "full": (),
    "pattern_preserving": ("pattern",),
    "value_preserving": ("v",),
    "pattern_and_value_preserving": ("pattern", "v"),
}
"""Edit → sites of the layer above that keep their intact values."""


@torch.no_grad()
def effects(model: Transformer, tokens_B6: Tensor, scores: Sequence[dict], whole: bool) -> Iterator[dict]:
    """Rows of all edits at a checkpoint, without the run's keys; `scores` are those by which heads are chosen.

    Without `whole` only those of layers, which are wanted all along.
    """
    read_BT = tokens_B6[:, : QUERY + 1]
    last, heads = model.spec.layers - 1, range(model.spec.heads)
    _, intact = model(read_BT, capture=[f"blocks.{last}.attn.{site}" for site in ("pattern", "v")])

    def measured(edits: Iterable[Edit]) -> dict[str, float]:
        return answered(model(read_BT, [*edits])[0][:, -1], tokens_B6)

    def silent(layer: int, but: Iterable[int]) -> Edit:
        kept = [*but]
        return Edit(f"blocks.{layer}.attn.z", torch.tensor([[float(head in kept)] for head in heads]), scale=True)

    def kept(edit: str) -> list[Edit]:
        return [Edit(name := f"blocks.{last}.attn.{site}", intact[name]) for site in KEPT[edit]]

    def rows(edit: str, chosen: str, silenced: list[Head], edits: list[Edit], **facts: int) -> Iterator[dict]:
        named = {"edit": edit, "chosen": chosen, "heads": "+".join(f"{layer}.{head}" for layer, head in silenced)}
        for metric, value in measured(edits).items():
            yield named | facts | {"metric": f"{metric}:trained", "value": value, "baseline": baseline[metric]}

    def of_layer(layer: int, but: Iterable[int] = ()) -> list[Head]:
        return [(layer, head) for head in heads if head not in but]

    baseline = measured([])
    yield from rows("full", "layer", of_layer(last), [silent(last, [])], layer=last)
    below = last - 1
    for edit in KEPT if last else ():
        yield from rows(edit, "layer", of_layer(below), [silent(below, []), *kept(edit)], layer=below)
    if not whole:
        return
    for layer in range(model.spec.layers):
        for head in heads:
            but = [other for other in heads if other != head]
            yield from rows("full", "single", [(layer, head)], [silent(layer, but)], layer=layer, head=head)
    for head in heads:
        yield from rows("full", "all_but", of_layer(last, [head]), [silent(last, [head])], layer=last, head=head)
    for count, loudest in enumerate(strongest(scores, last), start=1):
        yield from rows("full", "strongest", of_layer(last, loudest), [silent(last, loudest)], layer=last, draw=count)
    if not last:
        return
    previous = [head for layer, head in above(scores, "label_to_exemplar", PREVIOUS_TOKEN) if layer == below]
    others = [head for head in heads if head not in previous]
    for chosen, gone, left in (("previous_token", previous, others), ("others", others, previous)):
        for edit in ("full", "pattern_preserving", "value_preserving") if gone else ():
            silenced = [(below, head) for head in gone]
            yield from rows(edit, chosen, silenced, [silent(below, left), *kept(edit)], layer=below)
    for edit in ("value_preserving", "pattern_preserving"):
        for lower in heads:
            for upper in heads:
                silenced = of_layer(below, [lower]) + of_layer(last, [upper])
                edits = [silent(below, [lower]), *kept(edit), silent(last, [upper])]
                yield from rows(edit, "wire", silenced, edits, layer=last, head=upper, draw=lower)


def strongest(scores: Iterable[dict], layer: int) -> list[list[int]]:
    """The strongest induction head of a layer, the two strongest, … all."""
    strength = {
        row["head"]: row["value"]
        for row in scores
        if row["metric"] == "induction_strength" and row["layer"] == layer and row["value"] is not None
    }
    order = sorted(strength, key=lambda head: -strength[head])
    return [order[: count + 1] for count in range(len(order))]
