"""Ideal attention patterns: those of a head that does exactly what its name states.

Shape suffixes: B batch, T position, Q query, K key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def previous_token_pattern(n_tokens: int) -> Tensor:
    """Return the pattern of a previous-token head.

    Args:
        n_tokens: number of tokens.

    Returns:
        Attention [Q K]: from each token to its predecessor, from the first to itself.
    """
    pattern = torch.diag(torch.ones(n_tokens - 1), -1)
    pattern[0, 0] = 1.0
    return pattern


def induction_targets(tokens_BT: Tensor) -> Tensor:
    """Mark the keys that follow an earlier occurrence of the query's token.

    This is offset +1: from [A] to the [B] after an earlier [A], as in the definition of an
    induction head (Olsson et al. 2022). The start token, index 0, counts as no occurrence.

    Args:
        tokens_BT: token ids.

    Returns:
        A mask [B Q K].
    """
    same = tokens_BT[:, :, None] == tokens_BT[:, None, :]
    same[:, :, 0] = False
    follows = torch.zeros_like(same)
    follows[:, :, 1:] = same[:, :, :-1]
    # The query itself is not an earlier occurrence: its successor lies in the future.
    return follows.tril()


def induction_pattern(tokens_BT: Tensor) -> Tensor:
    """Return the pattern of an induction head.

    Args:
        tokens_BT: token ids.

    Returns:
        Attention [B Q K], spread evenly over `induction_targets`, on the start token where there are none.
    """
    targets = induction_targets(tokens_BT).float()
    rest = targets.sum(dim=-1) == 0
    targets[..., 0] += rest
    return targets / targets.sum(dim=-1, keepdim=True)
