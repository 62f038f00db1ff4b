"""Interventions of Mine et al. (2027)."""

from dataclasses import dataclass

import torch

from reinduce.config.declare import intervention
from reinduce.model.clamps import Clamp
from reinduce.model.interventions import Intervention


@intervention("uniform_attention")
@dataclass(frozen=True, kw_only=True)
class UniformAttention(Clamp):
    """The layer's heads look at all tokens up to their own alike."""

    def interventions(self, model, tokens_BT, before, state):
        """Return the pattern."""
        ones_TT = torch.ones(tokens_BT.shape[1], tokens_BT.shape[1]).tril()
        return [Intervention(f"blocks.{self.layer}.attn.pattern", ones_TT / ones_TT.sum(1, keepdim=True), self.head)]
