"""The transformer's forward pass, in plain terms and from top to bottom.

Every activation passes through `apply_and_capture`, which does nothing unless an intervention or the
caller names its site (`model/sites.py`). What makes the same numbers faster, or under interventions,
lies beside this file: `attention.py`, `intervened_attention.py`, `batched_ablation.py`.

Shape suffixes: B batch, T position, H head, D model width, E head width, V vocabulary, N vectors, F features.
"""

import math
from collections.abc import Collection, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reinduce.config.job_specs import ModelSpec
from reinduce.model.attention import attention_scores, fused_attention
from reinduce.model.clamps import build_clamps
from reinduce.model.intervened_attention import intervened_attention, is_touched
from reinduce.model.intervention_checks import check_interventions
from reinduce.model.interventions import (
    Cache,
    Intervention,
    Interventions,
    apply_and_capture,
    empty_cache,
    overwritten_block_input,
    resolve_activation,
)
from reinduce.model.positions import apply_rotary, rotary_cos_sin, sinusoidal_positions
from reinduce.model.recurrent import RECURRENCES


class Attention(nn.Module):
    """Causal multi-head attention without biases.

    Queries and keys read the input plus its positions, values the input alone, as in Shortformer
    (Press et al. 2021): positions never enter the residual stream.
    """

    positions_TD: Tensor
    rotary_cos_sin: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        D, H = spec.d_model, spec.n_heads
        self.spec = spec
        self.W_QKV = nn.Parameter(torch.empty(3 * D, D))
        self.W_O = nn.Parameter(torch.empty(D, D))
        if spec.smeared_keys:
            # sigmoid(0): a key starts as half itself, half its predecessor.
            self.smear = nn.Parameter(torch.zeros(H))
        if spec.positions == "shortformer":
            self.register_buffer("positions_TD", sinusoidal_positions(spec.n_ctx, D), persistent=False)
        if spec.positions == "rotary":
            self.register_buffer("rotary_cos_sin", rotary_cos_sin(spec.n_ctx, spec.d_head), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Sum of the heads' outputs [B T D], from the normalised residual stream."""
        q, k, v = self.qkv(x_BTD)
        return self.sum_heads(fused_attention(q, k, v))

    def qkv(self, x_BTD: Tensor, kinds: str = "qkv") -> tuple[Tensor, ...]:
        """Queries, keys and values [B T H E] in one product, or the neighbours among them that `kinds` lists."""
        (B, T, D), first = x_BTD.shape, "qkv".index(kinds)
        weight = self.W_QKV[first * D : (first + len(kinds)) * D]
        projected = F.linear(x_BTD, weight)
        if self.spec.positions == "shortformer" and kinds != "v":
            # (x + p) W = x W + p W: the positions' part is computed once for the batch.
            values = kinds.count("v") * D
            positions = F.linear(self.positions_TD[:T], weight[: len(weight) - values])
            projected = projected + (F.pad(positions, (0, values)) if values else positions)
        parts = projected.view(B, T, len(kinds), self.spec.n_heads, self.spec.d_head).unbind(dim=2)
        return tuple(self.apply_positions(kind, part) for kind, part in zip(kinds, parts, strict=True))

    def project(self, kind: str, x_BTD: Tensor) -> Tensor:
        """Queries ("q"), keys ("k") or values ("v") alone [B T H E]."""
        return self.qkv(x_BTD, kind)[0]

    def apply_positions(self, kind: str, x_BTHE: Tensor) -> Tensor:
        """Rotate projected queries and keys by their positions, and smear keys, where the model does so."""
        if kind != "v" and self.spec.positions == "rotary":
            x_BTHE = apply_rotary(x_BTHE, self.rotary_cos_sin)
        return self.smear_keys(x_BTHE) if kind == "k" and self.spec.smeared_keys else x_BTHE

    def smear_keys(self, k_BTHE: Tensor) -> Tensor:
        """Mix each key but the first with its predecessor (Olsson et al. 2022, argument 2)."""
        keep = torch.sigmoid(self.smear)[:, None]
        mixed = keep * k_BTHE[:, 1:] + (1 - keep) * k_BTHE[:, :-1]
        return torch.cat((k_BTHE[:, :1], mixed), dim=1)

    def scores(self, q_BTHE: Tensor, k_BTHE: Tensor) -> Tensor:
        """Attention scores [B H T T], query by key, before the causal mask."""
        return attention_scores(q_BTHE, k_BTHE)

    def sum_heads(self, z_BTHE: Tensor) -> Tensor:
        """Sum of the heads' outputs [B T D], from their weighted values."""
        return F.linear(z_BTHE.flatten(2), self.W_O)

    def head_out(self, z_BTHE: Tensor) -> Tensor:
        """Each head's own output [B T H D], from its weighted values."""
        W_DHE = self.W_O.view(-1, self.spec.n_heads, self.spec.d_head)
        return torch.einsum("bthe,dhe->bthd", z_BTHE, W_DHE)


class Block(nn.Module):
    """Attention or a recurrence, then (where the model has one) an MLP, each added to the residual stream."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        D = spec.d_model
        self.ln1 = nn.LayerNorm(D) if spec.layer_norm else nn.Identity()
        if spec.has_heads:
            self.attn = Attention(spec)
        else:
            self.recurrence = RECURRENCES[spec.mixer](D)
        if spec.mlp_ratio:
            hidden = round(spec.mlp_ratio * D)
            self.ln2 = nn.LayerNorm(D) if spec.layer_norm else nn.Identity()
            self.mlp = nn.Sequential(nn.Linear(D, hidden), nn.ReLU(), nn.Linear(hidden, D))


class Transformer(nn.Module):
    """A decoder-only transformer; every activation has a name and takes interventions.

    Example:
        >>> spec = ModelSpec(n_layers=2, d_model=16, n_heads=4, vocab_size=50, n_ctx=8)
        >>> model = Transformer(spec).init_weights(seed=0)
        >>> tokens = torch.tensor([[0, 3, 7, 3, 7]])
        >>> logits, cache = model(tokens, names=["blocks.0.attn.pattern"])
        >>> tuple(logits.shape), tuple(cache["blocks.0.attn.pattern"].shape)
        ((1, 5, 50), (1, 4, 5, 5))
        >>> ablated, _ = model(tokens, [Intervention("blocks.1.attn.z", 0.0, head=2)])
        >>> torch.equal(ablated, logits)
        False
    """

    features_NF: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.W_E = nn.Parameter(torch.empty(spec.vocab_size, spec.d_model))
        if spec.d_features:
            # Not part of a checkpoint: the vectors lie with the task's data, and `set_features` sets them.
            self.register_buffer("features_NF", torch.empty(0, spec.d_features), persistent=False)
            self.W_F = nn.Parameter(torch.empty(spec.d_model, spec.d_features))
            self.b_F = nn.Parameter(torch.zeros(spec.d_model))
        self.built_clamps = build_clamps(spec)
        for place, clamp in enumerate(self.built_clamps):
            self.register_buffer(f"clamp_state{place}", clamp.state(spec), persistent=False)
        if spec.positions == "learned":
            self.W_pos = nn.Parameter(torch.empty(spec.n_ctx, spec.d_model))
        # The cast gives a type checker the type of the list's modules.
        self.blocks = cast("Sequence[Block]", nn.ModuleList(Block(spec) for _ in range(spec.n_layers)))
        self.ln_final = nn.LayerNorm(spec.d_model) if spec.layer_norm else nn.Identity()
        self.W_U = nn.Parameter(torch.empty(spec.vocab_size, spec.d_model))
        self.b_U = nn.Parameter(torch.zeros(spec.vocab_size)) if spec.unembedding_bias else None

    def forward(
        self, tokens_BT: Tensor, interventions: Interventions = (), names: Collection[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute logits, under interventions, and capture activations.

        Args:
            tokens_BT: token ids.
            interventions: applied after the model's own clamps, in their order.
            names: sites to capture.

        Returns:
            Logits of the next token [B T V], and the captured activations by site.

        Raises:
            ValueError: if interventions or names do not fit the model, or interventions contradict each other.
        """
        B, T = tokens_BT.shape
        check_interventions(self.spec, interventions, names, B, T)
        cache = empty_cache(names)
        interventions = [*self.clamps(tokens_BT), *interventions]
        # Nothing below an overwritten activation is computed, unless it is captured.
        if not cache and any(each.site == "logits" and each.overwrites_site for each in interventions):
            return resolve_activation(self.spec, "logits", None, (B, T), interventions), cache
        start = None if cache else overwritten_block_input(self.spec, interventions, (B, T))
        first, x = (0, self.embed(tokens_BT, interventions, cache)) if start is None else start
        x = self.run_blocks(x, interventions, cache, first)
        return apply_and_capture("logits", self.unembed(x), interventions, cache), cache

    def embed(self, tokens_BT: Tensor, interventions: Interventions = (), cache: Cache = None) -> Tensor:
        """Residual stream before the first block [B T D]."""
        V = self.spec.vocab_size
        x = F.embedding(tokens_BT.clamp(max=V - 1) if self.spec.d_features else tokens_BT, self.W_E)
        if self.spec.d_features:
            features = self.embed_features((tokens_BT - V).clamp(min=0))
            x = torch.where((tokens_BT < V)[..., None], x, features)
        if self.spec.positions == "learned":
            x = x + self.W_pos[: tokens_BT.shape[1]]
        return apply_and_capture("embed", x, interventions, cache)

    def embed_features(self, index_BT: Tensor) -> Tensor:
        """Projected feature vectors [B T D], from their indices."""
        # The cheaper order: project all vectors that exist and look up, or look up and project.
        if len(self.features_NF) < index_BT.numel():
            return F.embedding(index_BT, F.linear(self.features_NF, self.W_F, self.b_F))
        return F.linear(F.embedding(index_BT, self.features_NF), self.W_F, self.b_F)

    def run_blocks(
        self, x_BTD: Tensor, interventions: Interventions = (), cache: Cache = None, first: int = 0
    ) -> Tensor:
        """Residual stream after the last block [B T D], from the stream before block `first`."""
        for layer in range(first, self.spec.n_layers):
            x_BTD = self.block(layer, x_BTD, interventions, cache)
        return apply_and_capture("resid_post", x_BTD, interventions, cache)

    def block(self, layer: int, x_BTD: Tensor, interventions: Interventions = (), cache: Cache = None) -> Tensor:
        """Residual stream after a block [B T D], from the stream before it."""
        name, block = f"blocks.{layer}", self.blocks[layer]
        x_BTD = apply_and_capture(f"{name}.resid_pre", x_BTD, interventions, cache)
        if self.spec.has_heads:
            x_BTD = x_BTD + self.attention(layer, block.ln1(x_BTD), interventions, cache)
        else:
            out = block.recurrence(block.ln1(x_BTD))
            x_BTD = x_BTD + apply_and_capture(f"{name}.recurrence_out", out, interventions, cache)
        return self.after_attention(layer, x_BTD, interventions, cache)

    def attention(self, layer: int, x_BTD: Tensor, interventions: Interventions = (), cache: Cache = None) -> Tensor:
        """Sum of a layer's heads [B T D], from the normalised residual stream."""
        attn = self.blocks[layer].attn
        if is_touched(layer, interventions, cache):
            out = intervened_attention(attn, layer, x_BTD, interventions, cache)
        else:
            out = attn(x_BTD)
        return apply_and_capture(f"blocks.{layer}.attn_out", out, interventions, cache)

    def after_attention(
        self, layer: int, x_BTD: Tensor, interventions: Interventions = (), cache: Cache = None
    ) -> Tensor:
        """Residual stream after a block [B T D], from the stream to which its attention has been added."""
        if not self.spec.mlp_ratio:
            return x_BTD
        block = self.blocks[layer]
        out = block.mlp(block.ln2(x_BTD))
        return x_BTD + apply_and_capture(f"blocks.{layer}.mlp_out", out, interventions, cache)

    def unembed(self, x_BTD: Tensor) -> Tensor:
        """Logits [B T V], from the residual stream after the last block."""
        return F.linear(self.ln_final(x_BTD), self.W_U, self.b_U)

    def clamps(self, tokens_BT: Tensor) -> list[Intervention]:
        """The interventions that are part of this model, for a batch.

        `forward` applies them; a caller that runs single blocks must pass them on.
        """
        interventions: list[Intervention] = []
        for place, clamp in enumerate(self.built_clamps):
            interventions += clamp.interventions(self, tokens_BT, interventions, getattr(self, f"clamp_state{place}"))
        return interventions

    def set_features(self, features_NF: Tensor) -> "Transformer":
        """Set the feature vectors of the token ids from the vocabulary's size on, and return the model.

        Args:
            features_NF: one vector for each such id.

        Raises:
            ValueError: if the vectors do not have the width in the model's specification.
        """
        if features_NF.ndim != 2 or features_NF.shape[1] != self.spec.d_features:
            shape, wanted = tuple(features_NF.shape), self.spec.d_features
            raise ValueError(f"features of shape {shape} do not fit; the model expects [N, {wanted}]")
        self.features_NF = features_NF.to(self.W_F)
        return self

    def init_weights(self, seed: int) -> "Transformer":
        """Draw every matrix from a seed, set biases to zero, leave norms and smears, and return the model."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "bias" in name or name.startswith("b_"):
                    parameter.zero_()
                if parameter.ndim < 2:
                    continue
                scaled = self.spec.initial == "depth_scaled"
                std = 1 / math.sqrt(parameter.shape[1])
                if name in ("W_E", "W_pos"):
                    std = 1.0 if scaled else 0.02
                if scaled and name.endswith(("W_O", "mlp.2.weight")):
                    std /= math.sqrt(2 * self.spec.n_layers)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        return self


def training_losses(model: Transformer, tokens: Tensor) -> Tensor:
    """Compute the losses that a model is trained on.

    Args:
        model: a model that reads `context` tokens.
        tokens: token ids [B T], or [B context + 1], where the last token is the answer to predict.

    Returns:
        Cross-entropy in nats: of all next tokens [B T-1], or of the answer alone [B 1].
    """
    n_ctx = model.spec.n_ctx
    logits_BTV, _ = model(tokens[:, :n_ctx])
    if tokens.shape[1] <= n_ctx:
        return token_losses(logits_BTV, tokens)
    return F.cross_entropy(logits_BTV[:, -1], tokens[:, n_ctx], reduction="none")[:, None]


def token_losses(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Compute the cross-entropy of each next token.

    Args:
        logits_BTV: logits of the next token.
        tokens_BT: token ids.

    Returns:
        Cross-entropy in nats [B T-1]; entry i is the loss of predicting the token at index i + 1.
    """
    B, T, V = logits_BTV.shape
    # The last position has no target: ignoring it there is cheaper than copying the rest.
    targets = F.pad(tokens_BT[:, 1:], (0, 1), value=-100)
    flat = F.cross_entropy(logits_BTV.view(-1, V), targets.view(-1), reduction="none", ignore_index=-100)
    return flat.view(B, T)[:, :-1]
