"""The one transformer of this project, small enough to read in one sitting.

Shape suffixes: B batch, T position, H head, D model width, E head width, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reinduce.config.specs import ModelSpec
from reinduce.model.sites import Edit, check_sites


def sinusoids(context: int, width: int) -> Tensor:
    """Sinusoidal positions [context, width] (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(context, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    table = torch.zeros(context, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: width // 2])
    return table


def rotate(x_BTHE: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): each pair of channels turns by an angle set by position."""
    T, E = x_BTHE.shape[1], x_BTHE.shape[3]
    rate = torch.exp(torch.arange(0, E, 2, device=x_BTHE.device) * (-math.log(10_000.0) / E))
    angle = (torch.arange(T, device=x_BTHE.device)[:, None] * rate)[:, None]
    cos, sin = angle.cos(), angle.sin()
    even, odd = x_BTHE[..., 0::2], x_BTHE[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Causal multi-head attention without biases.

    Queries and keys read the input plus `positions`, values the input alone, as in
    Shortformer (Press et al. 2021): positions never enter the residual stream.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__()
        D, H = spec.d_model, spec.heads
        self.spec = spec
        self.W_QKV = nn.Parameter(torch.empty(3 * D, D))
        self.W_O = nn.Parameter(torch.empty(D, D))
        if spec.smeared_keys:
            # sigmoid(0): a key starts as half itself, half its predecessor.
            self.smear = nn.Parameter(torch.zeros(H))
        if spec.positions == "shortformer":
            self.register_buffer("positions_TD", sinusoids(spec.context, D), persistent=False)

    def qkv(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B T H E] of a normalised residual stream."""
        B, T, D = x_BTD.shape
        H, E = self.spec.heads, self.spec.d_head
        qkv = F.linear(x_BTD, self.W_QKV)
        if self.spec.positions == "shortformer":
            # (x + p) W = x W + p W: the position's part is made once for the batch.
            qkv = qkv + F.pad(F.linear(self.positions_TD[:T], self.W_QKV[: 2 * D]), (0, D))
        q, k, v = qkv.view(B, T, 3, H, E).unbind(dim=2)
        if self.spec.positions == "rotary":
            q, k = rotate(q), rotate(k)
        if self.spec.smeared_keys:
            k = self.smeared(k)
        return q, k, v

    def smeared(self, k_BTHE: Tensor) -> Tensor:
        """Keys mixed with their predecessors, the first unchanged (Olsson et al. 2022, argument 2)."""
        keep = torch.sigmoid(self.smear)[:, None]
        mixed = keep * k_BTHE[:, 1:] + (1 - keep) * k_BTHE[:, :-1]
        return torch.cat((k_BTHE[:, :1], mixed), dim=1)

    def pattern(self, q_BTHE: Tensor, k_BTHE: Tensor) -> Tensor:
        """Attention pattern [B H T T], query by key."""
        T = q_BTHE.shape[1]
        scores = q_BTHE.transpose(1, 2) @ k_BTHE.permute(0, 2, 3, 1) / math.sqrt(self.spec.d_head)
        future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(dim=-1)

    def head_out(self, z_BTHE: Tensor) -> Tensor:
        """Each head's own addition to the residual stream [B T H D]."""
        W_OHDE = self.W_O.view(-1, self.spec.heads, self.spec.d_head)
        return torch.einsum("bthe,dhe->bthd", z_BTHE, W_OHDE)


class Block(nn.Module):
    """Attention, then (where the model has one) an MLP, each added to the residual stream."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        D = spec.d_model
        self.ln1 = nn.LayerNorm(D) if spec.layer_norm else nn.Identity()
        self.attn = Attention(spec)
        if spec.mlp_ratio:
            hidden = round(spec.mlp_ratio * D)
            self.ln2 = nn.LayerNorm(D) if spec.layer_norm else nn.Identity()
            self.mlp = nn.Sequential(nn.Linear(D, hidden), nn.ReLU(), nn.Linear(hidden, D))


class Transformer(nn.Module):
    """A decoder-only transformer whose every activation has a name and can be edited."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.W_E = nn.Parameter(torch.empty(spec.vocabulary, spec.d_model))
        if spec.positions == "learned":
            self.W_pos = nn.Parameter(torch.empty(spec.context, spec.d_model))
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.ln_final = nn.LayerNorm(spec.d_model) if spec.layer_norm else nn.Identity()
        self.W_U = nn.Parameter(torch.empty(spec.vocabulary, spec.d_model))

    def initialise(self, seed: int) -> "Transformer":
        """Draw every matrix anew from the seed; biases start at zero, norms and smears keep their constants."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                if parameter.ndim < 2:
                    continue
                std = 1.0 if name in ("W_E", "W_pos") else 1 / math.sqrt(parameter.shape[1])
                if name.endswith(("W_O", "mlp.2.weight")):
                    std /= math.sqrt(2 * self.spec.layers)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        return self

    def forward(
        self,
        tokens_BT: Tensor,
        edits: Sequence[Edit] = (),
        capture: Iterable[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B T V] of the next token, and the activations asked for by site name.

        Raises ValueError for a site or head that the model does not have. Attention
        patterns are only formed in layers where an edit or a capture needs them.
        """
        check_sites(self.spec, edits, capture)
        captured = {name: None for name in capture}
        x = self.resid(self.embed(tokens_BT, edits, captured), edits, captured)
        return self.unembed(x), captured

    def embed(self, tokens_BT: Tensor, edits: Sequence[Edit] = (), captured: dict | None = None) -> Tensor:
        """Residual stream before the first block [B T D]."""
        x = F.embedding(tokens_BT, self.W_E)
        if self.spec.positions == "learned":
            x = x + self.W_pos[: tokens_BT.shape[1]]
        return visit("embed", x, edits, captured)

    def resid(
        self,
        x_BTD: Tensor,
        edits: Sequence[Edit] = (),
        captured: dict | None = None,
        first: int = 0,
    ) -> Tensor:
        """Residual stream after the last block, from the stream before block `first` [B T D]."""
        for layer in range(first, self.spec.layers):
            x_BTD = self.block(layer, x_BTD, edits, captured)
        return visit("resid_post", x_BTD, edits, captured)

    def block(self, layer: int, x_BTD: Tensor, edits: Sequence[Edit] = (), captured: dict | None = None) -> Tensor:
        """Residual stream after a block, from the stream before it [B T D]."""
        name, block = f"blocks.{layer}", self.blocks[layer]
        x_BTD = visit(f"{name}.resid_pre", x_BTD, edits, captured)
        x_BTD = x_BTD + self.attention(layer, block.ln1(x_BTD), edits, captured)
        return self.after_attention(layer, x_BTD, edits, captured)

    def after_attention(
        self, layer: int, x_BTD: Tensor, edits: Sequence[Edit] = (), captured: dict | None = None
    ) -> Tensor:
        """Residual stream after a block, from the stream to which its attention has been added [B T D]."""
        if not self.spec.mlp_ratio:
            return x_BTD
        block = self.blocks[layer]
        return x_BTD + visit(f"blocks.{layer}.mlp_out", block.mlp(block.ln2(x_BTD)), edits, captured)

    def attention(self, layer: int, x_BTD: Tensor, edits: Sequence[Edit] = (), captured: dict | None = None) -> Tensor:
        """Sum of a layer's heads [B T D], from the normalised residual stream."""
        name, attn = f"blocks.{layer}.attn", self.blocks[layer].attn
        wanted = {edit.site for edit in edits}.union(captured or ())
        q, k, v = (
            visit(f"{name}.{kind}", part, edits, captured) for kind, part in zip("qkv", attn.qkv(x_BTD), strict=True)
        )
        if f"{name}.pattern" in wanted:
            forced = [e.value for e in edits if e.site == f"{name}.pattern" and e.replaces_all]
            others = [e for e in edits if not e.replaces_all]
            pattern = visit(f"{name}.pattern", forced[-1] if forced else attn.pattern(q, k), others, captured)
            z = weighted(pattern, v)
        else:
            fused = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)), is_causal=True)
            z = fused.transpose(1, 2)
        z = visit(f"{name}.z", z, edits, captured)
        if f"{name}.head_out" in wanted:
            out = visit(f"{name}.head_out", attn.head_out(z), edits, captured).sum(dim=2)
        else:
            out = F.linear(z.flatten(2), attn.W_O)
        return visit(f"blocks.{layer}.attn_out", out, edits, captured)

    def unembed(self, x_BTD: Tensor) -> Tensor:
        """Logits [B T V] of the residual stream after the last block."""
        return F.linear(self.ln_final(x_BTD), self.W_U)


def weighted(pattern_AHTT: Tensor, v_BTHE: Tensor) -> Tensor:
    """Values weighted by attention patterns [B T H E].

    B is A, or a multiple of it: the patterns of A sequences then serve several edited
    copies of them, laid side by side along the value width, so that no pattern is copied.
    """
    A, (B, T, H, E) = pattern_AHTT.shape[0], v_BTHE.shape
    v_AHTNE = v_BTHE.view(B // A, A, T, H, E).permute(1, 3, 2, 0, 4)
    z_AHTNE = (pattern_AHTT @ v_AHTNE.reshape(A, H, T, -1)).view(A, H, T, B // A, E)
    return z_AHTNE.permute(3, 0, 2, 1, 4).reshape(B, T, H, E)


def visit(name: str, x: Tensor, edits: Sequence[Edit], captured: dict | None) -> Tensor:
    """The activation at a site after its edits; kept if it was asked for."""
    for edit in edits:
        if edit.site == name:
            x = edit.apply(x)
    if captured is not None and name in captured:
        captured[name] = x
    return x


def token_losses(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Cross-entropy in nats [B T-1]; entry i is the loss of predicting token index i + 1."""
    B, T, V = logits_BTV.shape
    # The last position has no target: ignoring it there is cheaper than copying the rest.
    targets = F.pad(tokens_BT[:, 1:], (0, 1), value=-100)
    flat = F.cross_entropy(logits_BTV.view(-1, V), targets.view(-1), reduction="none", ignore_index=-100)
    return flat.view(B, T)[:, :-1]
