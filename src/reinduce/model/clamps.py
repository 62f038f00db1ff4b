"""Interventions that are part of a model: they hold in training, with gradients, and in every measurement.

A clamp is declared by a dataclass that derives from `Clamp`; its fields are what the configuration may
set. Those that two studies need are declared here, those of one paper in its study. Values that depend
on the model's weights stay part of the graph, so that gradients reach what is not clamped.

Shape suffixes: B batch, T position, H head, D model width, E head width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from reinduce.config.declare import intervention
from reinduce.config.find import find
from reinduce.config.job_specs import STRICT, ModelSpec, from_dict, require
from reinduce.model.interventions import Intervention, empty_cache
from reinduce.model.patterns import previous_token_pattern
from reinduce.model.sites import HEAD_AXIS

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.model.transformer import Transformer

FROZEN_SITES = ("q", "k", "v", "pattern")
"""Sites that `freeze_activation` can freeze."""


@dataclass(frozen=True, kw_only=True)
class Clamp:
    """An intervention that is part of a model."""

    __pydantic_config__ = STRICT
    type: ClassVar[str]
    """Its qualified name."""
    owner: ClassVar[str]
    module: ClassVar[str]
    overwrites_logits: ClassVar[bool] = False
    """Whether nothing of the model's own logits is left: ablations of heads then say nothing."""

    layer: int
    """The layer, from 0 on."""
    head: int | None = None
    """One head; null: all of the layer."""

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        require(0 <= self.layer < spec.n_layers, f"no layer {self.layer}; layers are 0 to {spec.n_layers - 1}")
        self.check_head(self.head, spec)

    @staticmethod
    def check_head(head: int | None, spec: ModelSpec) -> None:
        """Raise ValueError if a model has no such head."""
        require(head is None or 0 <= head < spec.n_heads, f"no head {head}; heads are 0 to {spec.n_heads - 1}")

    def state(self, spec: ModelSpec) -> Tensor | None:
        """Return a constant tensor that the model keeps for this clamp, or None.

        It is part of the model and not of its code, so that models which differ in it alone share what
        was compiled.
        """
        return None

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the interventions on one batch.

        Args:
            model: the model.
            tokens_BT: token ids.
            before: the interventions of the clamps before this one, which hold in any pass made here.
            state: what `state` returned.
        """
        raise NotImplementedError

    def content(self) -> dict[str, Any]:
        """Return the clamp as a specification holds it."""
        return {"type": self.type} | asdict(self)


def build_clamps(spec: ModelSpec) -> list[Clamp]:
    """Build the clamps of a model.

    Raises:
        ValueError: for a type that nobody declares, or a clamp that does not fit.
    """
    return [build_clamp(content, spec) for content in spec.clamps]


def build_clamp(content: Mapping[str, Any], spec: ModelSpec) -> Clamp:
    """Build one clamp; raises as `build_clamps` does."""
    require("type" in content, "clamps: each needs a `type`")
    kind = find("intervention", content["type"])
    clamp: Clamp = from_dict(kind, {key: value for key, value in content.items() if key != "type"})
    try:
        clamp.check(spec)
    except ValueError as error:
        raise ValueError(f"clamps: {error}") from None
    return clamp


@intervention("block_k_composition")
@dataclass(frozen=True, kw_only=True)
class BlockKComposition(Clamp):
    """Keys of the layer are made of the token embedding; queries and values still read the whole stream.

    Gradients reach the embedding.
    """

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the keys of the embedding."""
        block = model.blocks[self.layer]
        k_BTHE = block.attn.project("k", block.ln1(model.embed(tokens_BT)))
        value = k_BTHE if self.head is None else k_BTHE[:, :, self.head]
        return [Intervention(f"blocks.{self.layer}.attn.k", value, self.head)]


@intervention("force_previous_token")
@dataclass(frozen=True, kw_only=True)
class ForcePreviousToken(Clamp):
    """The layer's heads attend to the previous token, whatever their queries and keys.

    Singh et al. (2024) call it PT-attend.
    """

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the pattern of a previous-token head."""
        pattern_TT = previous_token_pattern(tokens_BT.shape[1]).to(tokens_BT.device)
        # All heads: a pattern of full shape spares the model its own.
        pattern = pattern_TT.expand(1, model.spec.n_heads, -1, -1) if self.head is None else pattern_TT
        return [Intervention(f"blocks.{self.layer}.attn.pattern", pattern, self.head)]


@intervention("block_previous_token")
@dataclass(frozen=True, kw_only=True)
class BlockPreviousToken(Clamp):
    """The layer's heads may attend to any token but the previous one, whose score is minus infinity."""

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return what is added to the scores."""
        T = tokens_BT.shape[1]
        forbidden_TT = torch.diag(torch.full((T - 1,), -math.inf, device=tokens_BT.device), -1)
        return [Intervention(f"blocks.{self.layer}.attn.scores", forbidden_TT, self.head, add=True)]


@intervention("zero_head")
@dataclass(frozen=True, kw_only=True)
class ZeroHead(Clamp):
    """The outputs of the layer's heads are zero."""

    except_head: int | None = None
    """All heads of the layer but this one."""

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        super().check(spec)
        require(self.except_head is None or self.head is None, "zero_head takes head or except_head, not both")
        self.check_head(self.except_head, spec)

    def state(self, spec: ModelSpec) -> Tensor:
        """Return 0 for every head that is zero and 1 for the others [H 1]."""
        chosen = [head for head in range(spec.n_heads) if head != self.except_head]
        head_mask_H = torch.ones(spec.n_heads)
        head_mask_H[chosen if self.head is None else [self.head]] = 0
        return head_mask_H[:, None]

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the mask that heads' outputs are multiplied by."""
        assert state is not None
        return [Intervention(f"blocks.{self.layer}.attn.z", state, scale=True)]


@intervention("freeze_activation")
@dataclass(frozen=True, kw_only=True)
class FreezeActivation(Clamp):
    """The layer's queries, keys, values or patterns are those of a pass without any clamp.

    Gradients flow through both passes.
    """

    site: str
    """q, k, v or pattern."""

    def check(self, spec: ModelSpec) -> None:
        """Raise ValueError if the clamp does not fit a model."""
        super().check(spec)
        require(self.site in FROZEN_SITES, f"site must be one of {', '.join(FROZEN_SITES)}, not {self.site!r}")

    def interventions(
        self, model: Transformer, tokens_BT: Tensor, before: Sequence[Intervention], state: Tensor | None
    ) -> list[Intervention]:
        """Return the activation of a pass without clamps."""
        name = f"blocks.{self.layer}.attn.{self.site}"
        cache, x_BTD = empty_cache([name]), model.embed(tokens_BT)
        for layer in range(self.layer + 1):
            x_BTD = model.block(layer, x_BTD, (), cache)
        value = cache[name]
        if self.head is not None:
            value = value.select(HEAD_AXIS[self.site], self.head)
        return [Intervention(name, value, self.head)]
