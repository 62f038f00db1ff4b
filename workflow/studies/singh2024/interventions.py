"""Clamps and ablations of Singh et al. (2024), on two labelled exemplars and a query.

Shape suffixes: B sequence, T position, H head, K choice of heads, D model width, E head width, V label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import ablation, intervention
from reinduce.config.job_specs import ModelSpec, require
from reinduce.metrics.head_selection import Head, heads_above_threshold, heads_name
from reinduce.model.clamps import Clamp
from reinduce.model.interventions import Intervention, empty_cache
from reinduce.studies.singh2024.answers import score_answers
from reinduce.studies.singh2024.tasks.fewshot_classification import LABELS, QUERY, right_label

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.metrics.inputs import AblationInputs
    from reinduce.model.transformer import Transformer

NEVER = -1e9
"""Logit of a label that is not in the context."""
PREVIOUS_TOKEN = 0.4
"""Attention from labels to their exemplars from which a head counts as a previous-token head."""
FROZEN = {
    "recomputed": (),
    "frozen_patterns": ("pattern",),
    "frozen_values": ("v",),
    "frozen_patterns_and_values": ("pattern", "v"),
}
"""What happens downstream → sites of the layer above that are frozen at their clean values."""


class FewshotClamp(Clamp):
    """A clamp that knows where exemplars and labels stand."""

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        name = self.type.rpartition(".")[2]
        require(
            spec.d_features > 0 and spec.n_ctx == 5,
            f"{name} is for models that read five tokens, exemplars and labels in turn",
        )
        super().check(spec)


@intervention("perfect_layer1")
@dataclass(frozen=True, kw_only=True)
class PerfectLayer1(FewshotClamp):
    """A perfect previous-token layer below: scores are those of labels that carry their exemplar.

    In a first pass each token but the query reads as the one before it, and the layer's scores are taken;
    in the second the layer reads the embedding as it is, under these scores (appendix on clamps). All
    lower layers are bypassed.
    """

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        super().check(spec)
        require(self.head is None, "perfect_layer1 is of all heads of the layer; leave out head")

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the embedding as the layer's input, and the scores of the shifted embedding."""
        name = f"blocks.{self.layer}"
        x_BTD = model.embed(tokens_BT)
        shifted_BTD = torch.cat((x_BTD[:, :1], x_BTD[:, : QUERY - 1], x_BTD[:, QUERY:]), dim=1)
        block = model.blocks[self.layer]
        scores_BHTT = block.attn.scores(*block.attn.qkv(block.ln1(shifted_BTD), "qk"))
        return [Intervention(f"{name}.resid_pre", x_BTD), Intervention(f"{name}.attn.scores", scores_BHTT)]


@intervention("force_match")
@dataclass(frozen=True, kw_only=True)
class ForceMatch(FewshotClamp):
    """The query attends to the label of its own class by `strength`, and else to the other one."""

    strength: float = 1.0
    """Weight of the right label; the wrong one gets the rest."""

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        super().check(spec)
        require(0 <= self.strength <= 1, f"strength must lie between 0 and 1, not {self.strength}")

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the query's row of the pattern."""
        right_B1 = right_label(tokens_BT, model.spec.vocab_size, model.spec.vectors_per_class)[:, None]
        row_BT = torch.zeros(tokens_BT.shape, device=tokens_BT.device)
        row_BT = row_BT.scatter(1, right_B1, self.strength).scatter(1, sum(LABELS) - right_B1, 1 - self.strength)
        heads = range(model.spec.n_heads) if self.head is None else (self.head,)
        name = f"blocks.{self.layer}.attn.pattern"
        return [Intervention(name, row_BT[:, None], head, positions=[QUERY]) for head in heads]


@intervention("force_copy")
@dataclass(frozen=True, kw_only=True)
class ForceCopy(FewshotClamp):
    """A perfect copy: the logits of the two labels are the head's scores for them."""

    overwrites_logits = True

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        super().check(spec)
        require(self.head is not None, "force_copy needs a head: one head's scores become the logits")

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the logits of the two labels."""
        name = f"blocks.{self.layer}.attn.scores"
        cache = empty_cache([name])
        x_BTD = model.embed(tokens_BT, before)
        for layer in range(self.layer + 1):
            x_BTD = model.block(layer, x_BTD, before, cache)
        scores_B2 = cache[name][:, self.head, QUERY, list(LABELS)]
        logits_BV = torch.full((len(tokens_BT), model.spec.vocab_size), NEVER, device=tokens_BT.device)
        logits_BV = logits_BV.scatter(1, tokens_BT[:, list(LABELS)], scores_B2)
        return [Intervention("logits", logits_BV[:, None].expand(-1, tokens_BT.shape[1], -1))]


@ablation(evaluation_set="in_distribution")
def silence_heads(inputs: AblationInputs) -> Iterator[dict]:
    """Ablate heads to zero, and see how queries are answered.

    Rows by `selection` (why these heads) and `downstream`:

    - `single`: each head alone;
    - `all_but`: all heads of the last layer but one, which `head` names;
    - `strongest`: all heads of the last layer but the `k` strongest;
    - `layer`: all heads of a layer; of the one below the last also with the last one's patterns
      kept, its values kept, and both (what then changes is the path around the last layer);
    - `previous_token`, `others`: the heads below the last layer that attend from a label to its
      exemplar, and those that do not, in the same three ways;
    - `wire`: one head (`source_head`) of the layer below and one of the last layer (`head`) alone
      are not ablated, with the last layer's values or patterns kept.

    Metrics are those of `score_answers`. Between the first and the last checkpoint, layers alone are ablated.
    """
    model, scores = inputs.model, inputs.scores
    last, heads = model.spec.n_layers - 1, range(model.spec.n_heads)
    below = last - 1
    query = Query(model, inputs.tokens)
    every_H, each_HH = torch.ones(len(heads)), torch.eye(len(heads))
    [baseline] = query.answer([], every_H[None])

    def zero(layer: int, but: Iterable[int]) -> Intervention:
        kept = [*but]
        return Intervention(
            f"blocks.{layer}.attn.z", torch.tensor([[float(head in kept)] for head in heads]), scale=True
        )

    def freeze(downstream: str) -> list[Intervention]:
        return [Intervention(name := f"blocks.{last}.attn.{site}", query.clean[name]) for site in FROZEN[downstream]]

    def rows(
        downstream: str, selection: str, ablated: list[Head], found: dict[str, float], **facts: int
    ) -> Iterator[dict]:
        named = {"intervention": "zero", "downstream": downstream, "selection": selection, "heads": heads_name(ablated)}
        for name, value in found.items():
            yield named | facts | {"metric": f"{name}:in_distribution", "value": value, "baseline": baseline[name]}

    def of_layer(layer: int, but: Iterable[int] = ()) -> list[Head]:
        return [(layer, head) for head in heads if head not in but]

    [mute] = query.answer([], 0 * every_H[None])
    yield from rows("recomputed", "layer", of_layer(last), mute, layer=last)
    for downstream in FROZEN if last else ():
        [found] = query.answer([zero(below, []), *freeze(downstream)], every_H[None])
        yield from rows(downstream, "layer", of_layer(below), found, layer=below)
    if not inputs.is_end:
        return
    for layer in range(last):
        for head in heads:
            [found] = query.answer([zero(layer, [other for other in heads if other != head])], every_H[None])
            yield from rows("recomputed", "single", [(layer, head)], found, layer=layer, head=head)
    for head, found in enumerate(query.answer([], 1 - each_HH)):
        yield from rows("recomputed", "single", [(last, head)], found, layer=last, head=head)
    for head, found in enumerate(query.answer([], each_HH)):
        yield from rows("recomputed", "all_but", of_layer(last, [head]), found, layer=last, head=head)
    strongest = rank_heads(scores, last)
    if strongest:
        added = query.answer([], torch.stack([each_HH[some].sum(dim=0) for some in strongest]))
        for count, (some, found) in enumerate(zip(strongest, added, strict=True), start=1):
            yield from rows("recomputed", "strongest", of_layer(last, some), found, layer=last, k=count)
    if not last:
        return
    previous = [
        head
        for layer, head in heads_above_threshold(scores, "label_to_exemplar:first_half", PREVIOUS_TOKEN)
        if layer == below
    ]
    others = [head for head in heads if head not in previous]
    for selection, gone, left in (("previous_token", previous, others), ("others", others, previous)):
        for downstream in ("recomputed", "frozen_patterns", "frozen_values") if gone else ():
            [found] = query.answer([zero(below, left), *freeze(downstream)], every_H[None])
            yield from rows(downstream, selection, [(below, head) for head in gone], found, layer=below)
    for downstream in ("frozen_values", "frozen_patterns"):
        for lower in heads:
            for upper, found in enumerate(query.answer([zero(below, [lower]), *freeze(downstream)], each_HH)):
                ablated = of_layer(below, [lower]) + of_layer(last, [upper])
                yield from rows(downstream, "wire", ablated, found, layer=last, head=upper, source_head=lower)


class Query:
    """How queries are answered under interventions, with any heads of the last layer.

    What each of these heads adds to the stream is computed once for interventions on the layers below; a
    choice of heads is then a sum.
    """

    def __init__(self, model: Transformer, tokens_B6: Tensor):
        self.model, self.tokens_B6 = model, tokens_B6
        self.last = f"blocks.{model.spec.n_layers - 1}"
        names = [f"{self.last}.attn.{site}" for site in ("pattern", "v")]
        _, self.clean = model(tokens_B6[:, : QUERY + 1], names=names)
        """Patterns and values of the last layer in the clean pass."""

    def answer(self, edits: Sequence[Intervention], chosen_KH: Tensor) -> list[dict[str, float]]:
        """Return `score_answers` for each row of `chosen_KH`: heads of the last layer that count (1) or not (0)."""
        names = f"{self.last}.resid_pre", f"{self.last}.attn.z"
        _, cache = self.model(self.tokens_B6[:, : QUERY + 1], edits, names=names)
        stream_BD, z_BHE = (cache[name][:, QUERY] for name in names)
        layer = self.model.spec.n_layers - 1
        added_BHD = self.model.blocks[layer].attn.head_out(z_BHE[:, None])[:, 0]
        stream_KBD = stream_BD + torch.einsum("kh,bhd->kbd", chosen_KH, added_BHD)
        logits_KBV = self.model.unembed(self.model.after_attention(layer, stream_KBD))
        return [score_answers(logits_BV, self.tokens_B6) for logits_BV in logits_KBV]


def rank_heads(scores: Iterable[Mapping[str, Any]], layer: int) -> list[list[int]]:
    """Return the strongest induction head of a layer, the two strongest, and so on up to all."""
    strength = {
        row["head"]: row["value"]
        for row in scores
        if row["metric"] == "induction_strength:first_half" and row["layer"] == layer and row["value"] is not None
    }
    order = sorted(strength, key=lambda head: -strength[head])
    return [order[: count + 1] for count in range(len(order))]
