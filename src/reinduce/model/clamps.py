"""Edits that are part of a model: they hold in training, with gradients, and in every measurement.

Each maker gives the edit of one clamp on one batch of tokens. What each does stands in
`config.specs.CLAMPS`, where the configuration is checked against it.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reinduce.config.specs import ClampSpec
from reinduce.model.patterns import previous_token_pattern
from reinduce.model.sites import Edit

if TYPE_CHECKING:
    from reinduce.model.transformer import Transformer


def keys_read_embedding(model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec) -> Edit:
    """No K-composition: queries and values still read the whole stream. Gradients reach the embedding."""
    block = model.blocks[clamp.layer]
    k_BTHE = block.attn.project("k", block.ln1(model.embed(tokens_BT)))
    return Edit(f"blocks.{clamp.layer}.attn.k", k_BTHE if clamp.head is None else k_BTHE[:, :, clamp.head], clamp.head)


def attend_previous(model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec) -> Edit:
    """A previous-token head from the first step on (Singh et al. 2024 call it PT-attend)."""
    pattern_TT = previous_token_pattern(tokens_BT.shape[1]).to(tokens_BT.device)
    # All heads: a pattern of full shape spares the model its own.
    pattern = pattern_TT.expand(1, model.spec.heads, -1, -1) if clamp.head is None else pattern_TT
    return Edit(f"blocks.{clamp.layer}.attn.pattern", pattern, clamp.head)


def never_attend_previous(model: "Transformer", tokens_BT: Tensor, clamp: ClampSpec) -> Edit:
    """No previous-token head: the score of the previous token is minus infinity."""
    T = tokens_BT.shape[1]
    forbidden_TT = torch.diag(torch.full((T - 1,), -math.inf, device=tokens_BT.device), -1)
    return Edit(f"blocks.{clamp.layer}.attn.scores", forbidden_TT, clamp.head, add=True)


MAKERS: dict[str, Callable[["Transformer", Tensor, ClampSpec], Edit]] = {
    maker.__name__: maker for maker in (keys_read_embedding, attend_previous, never_attend_previous)
}
