"""Which tokens of a sequence can be predicted how.

Shape suffixes: B example, T token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def completes_seen_bigram(tokens_BT: Tensor) -> Tensor:
    """Return whether each token completes a bigram that stood earlier in the same example [B, T], bool.

    Such a token can be predicted by finding its predecessor in the past and copying what followed. The
    start token never counts as a predecessor.

    >>> completes_seen_bigram(torch.tensor([[0, 1, 2, 1, 2]])).tolist()
    [[False, False, False, False, True]]
    """
    pairs = tokens_BT[:, 1:-1] * (tokens_BT.max() + 1) + tokens_BT[:, 2:]
    # Equal pairs become neighbours, and a stable sort keeps the earliest of them first.
    ranked, order = pairs.sort(dim=1, stable=True)
    seen = torch.zeros_like(pairs, dtype=torch.bool)
    seen[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    found = torch.zeros_like(tokens_BT, dtype=torch.bool)
    found[:, 2:] = torch.zeros_like(seen).scatter(1, order, seen)
    return found
