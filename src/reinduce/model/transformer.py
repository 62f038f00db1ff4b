"""The one transformer of this project, small enough to read in one sitting.

Shape suffixes: B batch, T position, H head, D model width, E head width, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reinduce.config.specs import ModelSpec
from reinduce.model.clamps import build_clamps
from reinduce.model.recurrent import RECURRENCES
from reinduce.model.sites import Edit, check_edits, fitted, how_many, site_shape

SHORT = 8
"""Tokens up to which attention is made element by element."""


def sinusoids(context: int, width: int) -> Tensor:
    """Sinusoidal positions [context, width] (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(context, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    table = torch.zeros(context, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: width // 2])
    return table


def turns(context: int, width: int) -> Tensor:
    """Cosines and sines [2, context, 1, width / 2] by which rotary positions turn pairs of a head's channels."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = (torch.arange(context)[:, None] * rate)[:, None]
    return torch.stack((angle.cos(), angle.sin()))


def rotate(x_BTHE: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): each pair of channels turns by an angle set by position."""
    cos, sin = turns[:, : x_BTHE.shape[1]]
    if not torch.compiler.is_compiling():
        # Several times faster than what stands below, of which a compiler makes one loop.
        pairs = torch.view_as_complex(x_BTHE.unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
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
        if spec.positions == "rotary":
            self.register_buffer("turns", turns(spec.context, spec.d_head), persistent=False)

    def qkv(self, x_BTD: Tensor, kinds: str = "qkv") -> tuple[Tensor, ...]:
        """Queries, keys and values [B T H E] of a normalised residual stream, or ('qk') the first two."""
        B, T, D = x_BTD.shape
        H, E = self.spec.heads, self.spec.d_head
        made = F.linear(x_BTD, self.W_QKV[: len(kinds) * D])
        if self.spec.positions == "shortformer":
            # (x + p) W = x W + p W: the position's part is made once for the batch.
            made = made + F.pad(F.linear(self.positions_TD[:T], self.W_QKV[: 2 * D]), (0, (len(kinds) - 2) * D))
        parts = made.view(B, T, len(kinds), H, E).unbind(dim=2)
        return tuple(self.placed(kind, part) for kind, part in zip(kinds, parts, strict=True))

    def project(self, kind: str, x_BTD: Tensor) -> Tensor:
        """Queries ('q'), keys ('k') or values ('v') alone [B T H E]."""
        (B, T, D), H = x_BTD.shape, self.spec.heads
        weight = self.W_QKV.view(3, D, D)["qkv".index(kind)]
        x = F.linear(x_BTD, weight)
        if kind != "v" and self.spec.positions == "shortformer":
            x = x + F.linear(self.positions_TD[:T], weight)
        return self.placed(kind, x.view(B, T, H, -1))

    def placed(self, kind: str, x_BTHE: Tensor) -> Tensor:
        """What turning and smearing make of projected queries, keys or values."""
        if kind != "v" and self.spec.positions == "rotary":
            x_BTHE = rotate(x_BTHE, self.turns)
        return self.smeared(x_BTHE) if kind == "k" and self.spec.smeared_keys else x_BTHE

    def smeared(self, k_BTHE: Tensor) -> Tensor:
        """Keys mixed with their predecessors, the first unchanged (Olsson et al. 2022, argument 2)."""
        keep = torch.sigmoid(self.smear)[:, None]
        mixed = keep * k_BTHE[:, 1:] + (1 - keep) * k_BTHE[:, :-1]
        return torch.cat((k_BTHE[:, :1], mixed), dim=1)

    def scores(self, q_BTHE: Tensor, k_BTHE: Tensor) -> Tensor:
        """Attention scores [B H T T], query by key, not yet masked."""
        if one_by_one(q_BTHE.shape[1]):
            return (q_BTHE[:, :, None] * k_BTHE[:, None]).sum(dim=-1).permute(0, 3, 1, 2) / math.sqrt(self.spec.d_head)
        return q_BTHE.transpose(1, 2) @ k_BTHE.permute(0, 2, 3, 1) / math.sqrt(self.spec.d_head)

    def head_out(self, z_BTHE: Tensor) -> Tensor:
        """Each head's own addition to the residual stream [B T H D]."""
        W_OHDE = self.W_O.view(-1, self.spec.heads, self.spec.d_head)
        return torch.einsum("bthe,dhe->bthd", z_BTHE, W_OHDE)


class Block(nn.Module):
    """Attention or a recurrence, then (where the model has one) an MLP, each added to the residual stream."""

    def __init__(self, spec: ModelSpec):
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
    """A decoder-only transformer whose every activation has a name and can be edited."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.W_E = nn.Parameter(torch.empty(spec.vocabulary, spec.d_model))
        if spec.features:
            # Not part of a checkpoint: they lie with the task's data, and `give_features` brings them.
            self.register_buffer("features_NF", torch.empty(0, spec.features), persistent=False)
            self.W_F = nn.Parameter(torch.empty(spec.d_model, spec.features))
            self.b_F = nn.Parameter(torch.zeros(spec.d_model))
        self.built_clamps = build_clamps(spec)
        for place, clamp in enumerate(self.built_clamps):
            self.register_buffer(f"clamp_state{place}", clamp.state(spec), persistent=False)
        if spec.positions == "learned":
            self.W_pos = nn.Parameter(torch.empty(spec.context, spec.d_model))
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.ln_final = nn.LayerNorm(spec.d_model) if spec.layer_norm else nn.Identity()
        self.W_U = nn.Parameter(torch.empty(spec.vocabulary, spec.d_model))
        if spec.unembedding_bias:
            self.b_U = nn.Parameter(torch.zeros(spec.vocabulary))

    def give_features(self, features_NF: Tensor) -> "Transformer":
        """Say which vectors the token ids from `vocabulary` on stand for [N F]; returns the model.

        Raises ValueError for vectors of another width.
        """
        if features_NF.ndim != 2 or features_NF.shape[1] != self.spec.features:
            raise ValueError(f"features of shape {tuple(features_NF.shape)}, the model wants [N, {self.spec.features}]")
        self.features_NF = features_NF.to(self.W_F)
        return self

    def initialise(self, seed: int) -> "Transformer":
        """Draw every matrix anew from the seed; biases start at zero, norms and smears keep their constants."""
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

        The model's own clamps come first, then `edits` in their order. Raises ValueError
        for edits that do not fit the model or contradict each other. Attention patterns
        are only formed in layers where an edit or a capture needs them.
        """
        check_edits(self.spec, edits, capture, *tokens_BT.shape)
        captured = {name: None for name in capture}
        edits = [*self.clamps(tokens_BT), *edits]
        if not captured and any(edit.site == "logits" and edit.replaces_all for edit in edits):
            return started(self.spec, "logits", None, tokens_BT.shape, edits, captured), captured
        given = [edit for edit in edits if edit.kind == "resid_pre" and edit.replaces_all and not captured]
        if given:
            # Nothing of what lies below the last stream that is given need be made.
            first = max(int(edit.site.split(".")[1]) for edit in given)
            shape = site_shape(self.spec, "resid_post", *tokens_BT.shape)
            start = next(edit for edit in given if edit.site == f"blocks.{first}.resid_pre")
            x = self.resid(fitted(start.value, shape), edits, captured, first)
        else:
            x = self.resid(self.embed(tokens_BT, edits, captured), edits, captured)
        return visit("logits", self.unembed(x), edits, captured), captured

    def clamps(self, tokens_BT: Tensor) -> list[Edit]:
        """The edits that are part of this model, for a batch; whoever runs blocks one by one passes them on."""
        edits: list[Edit] = []
        for place, clamp in enumerate(self.built_clamps):
            edits += clamp.interventions(self, tokens_BT, edits, getattr(self, f"clamp_state{place}"))
        return edits

    def embed(self, tokens_BT: Tensor, edits: Sequence[Edit] = (), captured: dict | None = None) -> Tensor:
        """Residual stream before the first block [B T D]."""
        V = self.spec.vocabulary
        x = F.embedding(tokens_BT.clamp(max=V - 1) if self.spec.features else tokens_BT, self.W_E)
        if self.spec.features:
            which_BT = (tokens_BT - V).clamp(min=0)
            # Whichever is less work: to project all vectors that there are, or those asked for.
            if len(self.features_NF) < which_BT.numel():
                said_BTD = F.embedding(which_BT, F.linear(self.features_NF, self.W_F, self.b_F))
            else:
                said_BTD = F.linear(F.embedding(which_BT, self.features_NF), self.W_F, self.b_F)
            x = torch.where((tokens_BT < V)[..., None], x, said_BTD)
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
        if self.spec.has_heads:
            x_BTD = x_BTD + self.attention(layer, block.ln1(x_BTD), edits, captured)
        else:
            x_BTD = x_BTD + visit(f"{name}.recurrence_out", block.recurrence(block.ln1(x_BTD)), edits, captured)
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
        name, attn, (B, T, _) = f"blocks.{layer}.attn", self.blocks[layer].attn, x_BTD.shape
        wanted = {edit.site for edit in edits}.union(captured or ())
        put = {edit.site for edit in edits if edit.replaces_all}
        needed = "qkv"
        for site, below in (("pattern", ("q", "k", "scores")), ("scores", ("q", "k"))):
            if f"{name}.{site}" in put and wanted.isdisjoint(f"{name}.{kind}" for kind in below):
                needed = "v"
        # What is put there whole need not be computed; all three at once are one product.
        free = [kind for kind in needed if f"{name}.{kind}" not in put]
        parts = (
            zip("qkv", attn.qkv(x_BTD), strict=True) if len(free) == 3 else ((k, attn.project(k, x_BTD)) for k in free)
        )
        parts = dict(parts)
        q, k, v = (
            started(self.spec, f"{name}.{kind}", parts.get(kind), (B, T), edits, captured) if kind in needed else None
            for kind in "qkv"
        )
        patterns = [edit for edit in edits if edit.site == f"{name}.pattern"]
        scores = [edit for edit in edits if edit.site == f"{name}.scores"]
        unseen = {f"{name}.pattern", f"{name}.scores"}.isdisjoint(captured or ())
        if unseen and all(edit.puts_of_head for edit in patterns) and all(edit.adds_alike for edit in scores):
            # No pattern is formed: added scores go with the causal mask, and a head whose pattern
            # is put says what that pattern makes of its values.
            bias = self.added_scores(layer, (1, T), scores) if scores else None
            z, lse = fused_attention(q, k, v, bias, with_lse=f"{name}.lse" in wanted)
            visit(f"{name}.lse", lse, (), captured)
            for edit in patterns:
                rows_BQT = fitted(edit.value, (B, how_many(edit.positions, T), T)).to(v)
                v_BTE = v[:, :, edit.head]
                said_BQE = (rows_BQT[..., None] * v_BTE[:, None]).sum(dim=2) if one_by_one(T) else rows_BQT @ v_BTE
                z = Edit(f"{name}.z", said_BQE, edit.head, positions=edit.positions).apply(z)
        else:
            z = weighted(self.pattern(layer, q, k, (B, T), edits, captured), v)
        z = visit(f"{name}.z", z, edits, captured)
        if f"{name}.head_out" in wanted:
            out = visit(f"{name}.head_out", attn.head_out(z), edits, captured).sum(dim=2)
        else:
            out = F.linear(z.flatten(2), attn.W_O)
        return visit(f"blocks.{layer}.attn_out", out, edits, captured)

    def pattern(
        self,
        layer: int,
        q_BTHE: Tensor | None,
        k_BTHE: Tensor | None,
        size: tuple[int, int],
        edits: Sequence[Edit] = (),
        captured: dict | None = None,
    ) -> Tensor:
        """Attention pattern of a layer [B H T T], query by key, for a batch of size (B, T).

        Without queries and keys, that of the scores that are put there, or the pattern that is
        put there: [A H T T] if it has fewer rows and nothing else is asked of it.
        """
        name = f"blocks.{layer}.attn"
        here = [edit for edit in edits if edit.site == f"{name}.pattern"]
        if q_BTHE is None and any(edit.replaces_all for edit in here):
            if here[-1].replaces_all and here[-1].value.ndim == 4 and f"{name}.pattern" not in (captured or ()):
                return here[-1].value
            return started(self.spec, f"{name}.pattern", None, size, edits, captured)
        found = None if q_BTHE is None else self.blocks[layer].attn.scores(q_BTHE, k_BTHE)
        scores = started(self.spec, f"{name}.scores", found, size, edits, captured)
        future = torch.ones(size[1], size[1], dtype=torch.bool, device=scores.device).triu(1)
        return visit(f"{name}.pattern", scores.masked_fill(future, -math.inf).softmax(dim=-1), here, captured)

    def added_scores(self, layer: int, size: tuple[int, int], edits: Sequence[Edit]) -> Tensor:
        """What edits add to a layer's attention scores [1 H T T], minus infinity for the future; size: (1, T)."""
        shape = site_shape(self.spec, f"blocks.{layer}.attn.scores", *size)
        added = self.W_E.new_zeros(shape)
        for edit in edits:
            added = edit.apply(added)
        future = torch.ones(shape[2:], dtype=torch.bool, device=added.device).triu(1)
        return added.masked_fill(future, -math.inf)

    def unembed(self, x_BTD: Tensor) -> Tensor:
        """Logits [B T V] of the residual stream after the last block."""
        return F.linear(self.ln_final(x_BTD), self.W_U, getattr(self, "b_U", None))


def fused_attention(
    q_BTHE: Tensor, k_BTHE: Tensor, v_BTHE: Tensor, bias_1HTT: Tensor | None = None, with_lse: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Values weighted by causal attention [B T H E]; with it, if asked for, what scores are held against.

    A bias, which is added to the scores, brings the causal mask with it. The second result is
    the logarithm of the sum of a query's exponentiated scores [B H T]: the weight of a key is
    exp(score - lse), for any few keys, without the whole pattern.
    """
    if q_BTHE.shape[1] <= SHORT and not with_lse:
        return short_attention(q_BTHE, k_BTHE, v_BTHE, bias_1HTT), None
    parts = [part.transpose(1, 2) for part in (q_BTHE, k_BTHE, v_BTHE)]
    if with_lse and bias_1HTT is None and q_BTHE.device.type == "cpu":
        z, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts, 0.0, True)
        return z.transpose(1, 2), lse
    z = F.scaled_dot_product_attention(*parts, attn_mask=bias_1HTT, is_causal=bias_1HTT is None).transpose(1, 2)
    if not with_lse:
        return z, None
    T = q_BTHE.shape[1]
    scores = parts[0] @ parts[1].transpose(2, 3) / math.sqrt(q_BTHE.shape[-1])
    if bias_1HTT is None:
        future = torch.ones(T, T, dtype=torch.bool, device=q_BTHE.device).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    else:
        scores = scores + bias_1HTT
    return z, scores.logsumexp(dim=-1)


def short_attention(q_BTHE: Tensor, k_BTHE: Tensor, v_BTHE: Tensor, bias_1HTT: Tensor | None = None) -> Tensor:
    """The same for a few tokens [B T H E], element by element: what a compiler makes one loop of."""
    T = q_BTHE.shape[1]
    scores_BTTH = (q_BTHE[:, :, None] * k_BTHE[:, None]).sum(dim=-1) / math.sqrt(q_BTHE.shape[-1])
    if bias_1HTT is None:
        future = torch.ones(T, T, dtype=torch.bool, device=q_BTHE.device).triu(1)
        scores_BTTH = scores_BTTH.masked_fill(future[None, :, :, None], -math.inf)
    else:
        scores_BTTH = scores_BTTH + bias_1HTT.permute(0, 2, 3, 1)
    return (scores_BTTH.softmax(dim=2)[..., None] * v_BTHE[:, None]).sum(dim=2)


def one_by_one(tokens: int) -> bool:
    """Whether products over so many tokens are made element by element, of which a compiler makes one loop."""
    return tokens <= SHORT and torch.compiler.is_compiling()


def weighted(pattern_AHTT: Tensor, v_BTHE: Tensor) -> Tensor:
    """Values weighted by attention patterns [B T H E].

    B is A, or a multiple of it: the patterns of A sequences then serve several edited
    copies of them, laid side by side along the value width, so that no pattern is copied.
    """
    A, (B, T, H, E) = pattern_AHTT.shape[0], v_BTHE.shape
    if one_by_one(T) and A in (1, B):
        return (pattern_AHTT.permute(0, 2, 3, 1)[..., None] * v_BTHE[:, None]).sum(dim=2)
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


def started(
    spec: ModelSpec,
    name: str,
    x: Tensor | None,
    size: tuple[int, int],
    edits: Sequence[Edit],
    captured: dict | None,
) -> Tensor:
    """The activation at a site after its edits, from the last one that leaves nothing of what was there.

    `x` is None where there is such an edit; `size`: sequences and tokens of the batch.
    """
    here = [edit for edit in edits if edit.site == name]
    whole = [i for i, edit in enumerate(here) if edit.replaces_all]
    if whole:
        x, here = fitted(here[whole[-1]].value, site_shape(spec, name, *size)), here[whole[-1] + 1 :]
    return visit(name, x, here, captured)


def sequence_losses(model: Transformer, tokens: Tensor) -> Tensor:
    """What a model is trained on, in nats: the losses of all next tokens [B T-1].

    Where sequences hold one token more than the model reads, that of this answer alone [B 1].
    """
    T = model.spec.context
    logits_BTV, _ = model(tokens[:, :T])
    if tokens.shape[1] <= T:
        return token_losses(logits_BTV, tokens)
    return F.cross_entropy(logits_BTV[:, -1], tokens[:, T], reduction="none")[:, None]


def token_losses(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Cross-entropy in nats [B T-1]; entry i is the loss of predicting token index i + 1."""
    B, T, V = logits_BTV.shape
    # The last position has no target: ignoring it there is cheaper than copying the rest.
    targets = F.pad(tokens_BT[:, 1:], (0, 1), value=-100)
    flat = F.cross_entropy(logits_BTV.view(-1, V), targets.view(-1), reduction="none", ignore_index=-100)
    return flat.view(B, T)[:, :-1]
