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
sequence, H head, K choice of heads, E head width, D model width, V label.
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
    last, heads = model.spec.layers - 1, range(model.spec.heads)
    below = last - 1
    query = Query(model, tokens_B6)
    every_H = torch.ones(len(heads))
    each_HH = torch.eye(len(heads))
    [baseline] = query.answers([], every_H[None])

    def silent(layer: int, but: Iterable[int]) -> Edit:
        kept = [*but]
        return Edit(f"blocks.{layer}.attn.z", torch.tensor([[float(head in kept)] for head in heads]), scale=True)

    def kept(edit: str) -> list[Edit]:
        return [Edit(name := f"blocks.{last}.attn.{site}", query.intact[name]) for site in KEPT[edit]]

    def rows(edit: str, chosen: str, silenced: list[Head], found: dict[str, float], **facts: int) -> Iterator[dict]:
        named = {"edit": edit, "chosen": chosen, "heads": "+".join(f"{layer}.{head}" for layer, head in silenced)}
        for metric, value in found.items():
            yield named | facts | {"metric": f"{metric}:trained", "value": value, "baseline": baseline[metric]}

    def of_layer(layer: int, but: Iterable[int] = ()) -> list[Head]:
        return [(layer, head) for head in heads if head not in but]

    [mute] = query.answers([], 0 * every_H[None])
    yield from rows("full", "layer", of_layer(last), mute, layer=last)
    for edit in KEPT if last else ():
        [found] = query.answers([silent(below, []), *kept(edit)], every_H[None])
        yield from rows(edit, "layer", of_layer(below), found, layer=below)
    if not whole:
        return
    for layer in range(last):
        for head in heads:
            [found] = query.answers([silent(layer, [other for other in heads if other != head])], every_H[None])
            yield from rows("full", "single", [(layer, head)], found, layer=layer, head=head)
    for head, found in enumerate(query.answers([], 1 - each_HH)):
        yield from rows("full", "single", [(last, head)], found, layer=last, head=head)
    for head, found in enumerate(query.answers([], each_HH)):
        yield from rows("full", "all_but", of_layer(last, [head]), found, layer=last, head=head)
    loudest = strongest(scores, last)
    if loudest:
        added = query.answers([], torch.stack([each_HH[some].sum(dim=0) for some in loudest]))
        for count, (some, found) in enumerate(zip(loudest, added, strict=True), start=1):
            yield from rows("full", "strongest", of_layer(last, some), found, layer=last, draw=count)
    if not last:
        return
    previous = [head for layer, head in above(scores, "label_to_exemplar", PREVIOUS_TOKEN) if layer == below]
    others = [head for head in heads if head not in previous]
    for chosen, gone, left in (("previous_token", previous, others), ("others", others, previous)):
        for edit in ("full", "pattern_preserving", "value_preserving") if gone else ():
            [found] = query.answers([silent(below, left), *kept(edit)], every_H[None])
            yield from rows(edit, chosen, [(below, head) for head in gone], found, layer=below)
    for edit in ("value_preserving", "pattern_preserving"):
        for lower in heads:
            for upper, found in enumerate(query.answers([silent(below, [lower]), *kept(edit)], each_HH)):
                silenced = of_layer(below, [lower]) + of_layer(last, [upper])
                yield from rows(edit, "wire", silenced, found, layer=last, head=upper, draw=lower)


class Query:
    """How queries are answered under edits, with any heads of the last layer.

    What such a head adds to the stream is made once for an edit of what lies below; which of
    them speak is a sum.
    """

    def __init__(self, model: Transformer, tokens_B6: Tensor):
        self.model, self.tokens_B6 = model, tokens_B6
        self.last = f"blocks.{model.spec.layers - 1}"
        kept = [f"{self.last}.attn.{site}" for site in ("pattern", "v")]
        _, self.intact = model(tokens_B6[:, : QUERY + 1], capture=kept)
        """Patterns and values of the last layer without edits."""

    def answers(self, edits: Sequence[Edit], speaking_KH: Tensor) -> list[dict[str, float]]:
        """`answered` for each row of `speaking_KH`: which heads of the last layer speak (1) and which do not (0)."""
        names = f"{self.last}.resid_pre", f"{self.last}.attn.z"
        _, captured = self.model(self.tokens_B6[:, : QUERY + 1], edits, capture=names)
        stream_BD, z_BHE = (captured[name][:, QUERY] for name in names)
        layer = self.model.spec.layers - 1
        said_BHD = self.model.blocks[layer].attn.head_out(z_BHE[:, None])[:, 0]
        heard_KBD = stream_BD + torch.einsum("kh,bhd->kbd", speaking_KH, said_BHD)
        logits_KBV = self.model.unembed(self.model.after_attention(layer, heard_KBD))
        return [answered(logits_BV, self.tokens_B6) for logits_BV in logits_KBV]


def strongest(scores: Iterable[dict], layer: int) -> list[list[int]]:
    """The strongest induction head of a layer, the two strongest, … all."""
    strength = {
        row["head"]: row["value"]
        for row in scores
        if row["metric"] == "induction_strength" and row["layer"] == layer and row["value"] is not None
    }
    order = sorted(strength, key=lambda head: -strength[head])
    return [order[: count + 1] for count in range(len(order))]
