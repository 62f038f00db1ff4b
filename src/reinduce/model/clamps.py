"""Edits that are part of a model: they hold in training, with gradients, and in every measurement.

Each maker gives the edits of one clamp on one batch of tokens; those of the clamps before it
hold in whatever passes it makes. What each does stands in `config.specs.CLAMPS`, where the
configuration is checked against it. Values that depend on the model's weights stay part of
the graph, so that gradients reach what is not clamped.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reinduce.config.specs import ClampSpec, ModelSpec
from reinduce.model.interventions import Intervention
from reinduce.model.patterns import previous_token_pattern
from reinduce.model.sites import HEAD_AXIS
from reinduce.task.exemplars import LABELS, QUERY, right_label

if TYPE_CHECKING:
    from reinduce.model.transformer import Transformer

NEVER = -1e9
"""Logit of a label that is not in the context."""


def keys_read_embedding(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """No K-composition: queries and values still read the whole stream. Gradients reach the embedding."""
    block = model.blocks[clamp.layer]
    k_BTHE = block.attn.project("k", block.ln1(model.embed(tokens_BT)))
    value = k_BTHE if clamp.head is None else k_BTHE[:, :, clamp.head]
    return [Intervention(f"blocks.{clamp.layer}.attn.k", value, clamp.head)]


def attend_previous(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """A previous-token head from the first step on (Singh et al. 2024 call it PT-attend)."""
    pattern_TT = previous_token_pattern(tokens_BT.shape[1]).to(tokens_BT.device)
    # All heads: a pattern of full shape spares the model its own.
    pattern = pattern_TT.expand(1, model.spec.heads, -1, -1) if clamp.head is None else pattern_TT
    return [Intervention(f"blocks.{clamp.layer}.attn.pattern", pattern, clamp.head)]


def never_attend_previous(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """No previous-token head: the score of the previous token is minus infinity."""
    T = tokens_BT.shape[1]
    forbidden_TT = torch.diag(torch.full((T - 1,), -math.inf, device=tokens_BT.device), -1)
    return [Intervention(f"blocks.{clamp.layer}.attn.scores", forbidden_TT, clamp.head, add=True)]


def silence(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """Heads that are not there, from the first step on."""
    return [Intervention(f"blocks.{clamp.layer}.attn.z", model.head_mask[clamp.layer, :, None], scale=True)]


def head_mask(spec: ModelSpec) -> Tensor:
    """For every head 0 if a clamp silences it, else 1 [L H].

    Part of a model and not of its code, so that models which differ in it alone share what
    was compiled.
    """
    made_LH = torch.ones(spec.layers, spec.heads)
    for clamp in spec.clamps:
        if clamp.what == "silence":
            silent = [h for h in range(spec.heads) if h != clamp.but] if clamp.head is None else [clamp.head]
            made_LH[clamp.layer, silent] = 0
    return made_LH


def layer_one(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """A perfect previous-token layer below: scores are those of labels that know their exemplar.

    In a first pass each token but the query reads as the one before it, and the layer's scores
    are taken; in the second it reads the embedding as it is, under these scores (Singh et al.
    2024, appendix on clamps). All lower layers are bypassed.
    """
    name = f"blocks.{clamp.layer}"
    x_BTD = model.embed(tokens_BT)
    shifted_BTD = torch.cat((x_BTD[:, :1], x_BTD[:, : QUERY - 1], x_BTD[:, QUERY:]), dim=1)
    block = model.blocks[clamp.layer]
    scores_BHTT = block.attn.scores(*block.attn.qkv(block.ln1(shifted_BTD), "qk"))
    return [Intervention(f"{name}.resid_pre", x_BTD), Intervention(f"{name}.attn.scores", scores_BHTT)]


def match(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """A perfect (or imperfect, or contrary) match: the query's attention is given."""
    right_B1 = right_label(tokens_BT, model.spec.vocabulary, model.spec.exemplars)[:, None]
    row_BT = torch.zeros(tokens_BT.shape, device=tokens_BT.device)
    row_BT = row_BT.scatter(1, right_B1, clamp.strength).scatter(1, sum(LABELS) - right_B1, 1 - clamp.strength)
    heads = range(model.spec.heads) if clamp.head is None else (clamp.head,)
    name = f"blocks.{clamp.layer}.attn.pattern"
    return [Intervention(name, row_BT[:, None], head, positions=[QUERY]) for head in heads]


def copy(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """A perfect copy: what the head's scores say of the two labels are their logits."""
    name = f"blocks.{clamp.layer}.attn.scores"
    cache = {name: None}
    x_BTD = model.embed(tokens_BT, before)
    for layer in range(clamp.layer + 1):
        x_BTD = model.block(layer, x_BTD, before, cache)
    scores_B2 = cache[name][:, clamp.head, QUERY, list(LABELS)]
    logits_BV = torch.full((len(tokens_BT), model.spec.vocabulary), NEVER, device=tokens_BT.device)
    logits_BV = logits_BV.scatter(1, tokens_BT[:, list(LABELS)], scores_B2)
    return [Intervention("logits", logits_BV[:, None].expand(-1, tokens_BT.shape[1], -1))]


def preserve(
    model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec, before: Sequence[Intervention]
) -> list[Intervention]:
    """What the layer's heads look for, offer, say or attend to stays, whatever other clamps do below.

    It is that of a first pass without any clamp; gradients flow through both passes.
    """
    name = f"blocks.{clamp.layer}.attn.{clamp.site}"
    cache, x_BTD = {name: None}, model.embed(tokens_BT)
    for layer in range(clamp.layer + 1):
        x_BTD = model.block(layer, x_BTD, (), cache)
    value = cache[name]
    if clamp.head is not None:
        value = value.select(HEAD_AXIS[clamp.site], clamp.head)
    return [Intervention(name, value, clamp.head)]


Maker = Callable[["Transformer", Tensor, ClampSpec, Sequence[Intervention]], list[Intervention]]
KNOWN = (keys_read_embedding, attend_previous, never_attend_previous, silence, layer_one, match, copy, preserve)
MAKERS: dict[str, Maker] = {maker.__name__: maker for maker in KNOWN}
