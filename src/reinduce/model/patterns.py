"""Which positions a head would attend to if it were exactly what its name says.

Shape suffixes: B batch, Q query, K key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def previous_token_pattern(context: int) -> Tensor:
    """[Q K]: every token attends to its predecessor, the first to itself."""
    pattern = torch.diag(torch.ones(context - 1), -1)
    pattern[0, 0] = 1.0
    return pattern


def induction_targets(tokens_BT: Tensor) -> Tensor:
    """[B Q K] bool: key K follows an earlier occurrence of the query's own token.

    This is offset +1: from [A] to the [B] after an earlier [A], as in the definition of an
    induction head (Olsson et al. 2022). The start token, index 0, is nobody's occurrence.
    """
    same = tokens_BT[:, :, None] == tokens_BT[:, None, :]
    same[:, :, 0] = False
    follows = torch.zeros_like(same)
    follows[:, :, 1:] = same[:, :, :-1]
    # The query itself is no earlier occurrence: what follows it lies in the future.
    return follows.tril()


def induction_pattern(tokens_BT: Tensor) -> Tensor:
    """[B Q K]: attention spread evenly over `induction_targets`, on the start token where there are none."""
    targets = induction_targets(tokens_BT).float()
    rest = targets.sum(dim=-1) == 0
    targets[..., 0] += rest
    return targets / targets.sum(dim=-1, keepdim=True)
