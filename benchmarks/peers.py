"""The same work done by the peers, on the same weights.

Peers: TransformerLens (`HookedTransformer`), and Hugging Face GPT-2 with fused attention and
hooks set by hand. Each does a piece of work as its documentation recommends, without
needless caches, and returns the same quantities as ours, so that results can be compared.

Shape suffixes: B batch, T position, H head, E head width, D model width.
"""

import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformers import GPT2Config, GPT2LMHeadModel

from reinduce.model.transformer import Transformer, token_losses

# Raised for every instance; version 4 has another interface.
warnings.filterwarnings("ignore", message="HookedTransformer is deprecated")


def transformer_lens(model: Transformer) -> HookedTransformer:
    """A HookedTransformer with the weights of a model with learned positions."""
    spec = model.spec
    hidden = round(spec.mlp_ratio * spec.d_model)
    made = HookedTransformer(
        HookedTransformerConfig(
            n_layers=spec.n_layers,
            d_model=spec.d_model,
            n_ctx=spec.n_ctx,
            d_head=spec.d_head,
            n_heads=spec.n_heads,
            d_mlp=hidden or None,
            act_fn="relu" if hidden else None,
            attn_only=not hidden,
            d_vocab=spec.vocab_size,
            normalization_type="LN",
            positional_embedding_type="standard",
            device="cpu",
        )
    )
    weights = {"embed.W_E": model.W_E, "pos_embed.W_pos": model.W_pos, "unembed.W_U": model.W_U.T}
    weights |= {"ln_final.w": model.ln_final.weight, "ln_final.b": model.ln_final.bias}
    for layer, block in enumerate(model.blocks):
        name = f"blocks.{layer}"
        q, k, v = block.attn.W_QKV.view(3, spec.n_heads, spec.d_head, spec.d_model).transpose(2, 3)
        out = block.attn.W_O.view(spec.d_model, spec.n_heads, spec.d_head).permute(1, 2, 0)
        weights |= {f"{name}.ln1.w": block.ln1.weight, f"{name}.ln1.b": block.ln1.bias}
        weights |= {f"{name}.attn.W_{kind}": part for kind, part in zip("QKVO", (q, k, v, out), strict=True)}
        if hidden:
            weights |= {f"{name}.ln2.w": block.ln2.weight, f"{name}.ln2.b": block.ln2.bias}
            weights |= {f"{name}.mlp.W_in": block.mlp[0].weight.T, f"{name}.mlp.b_in": block.mlp[0].bias}
            weights |= {f"{name}.mlp.W_out": block.mlp[2].weight.T, f"{name}.mlp.b_out": block.mlp[2].bias}
    own = made.state_dict()
    for name, value in own.items():
        if name in weights:
            value.copy_(weights.pop(name))
        elif name.split(".")[-1].startswith("b"):
            value.zero_()
    assert not weights, f"no place for {', '.join(weights)}"
    return made.eval().requires_grad_(False)


def gpt2(model: Transformer, attention: str = "sdpa") -> GPT2LMHeadModel:
    """A GPT-2 with the weights of a model with learned positions and MLPs."""
    spec = model.spec
    made = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=spec.vocab_size,
            n_positions=spec.n_ctx,
            n_embd=spec.d_model,
            n_layer=spec.n_layers,
            n_head=spec.n_heads,
            n_inner=round(spec.mlp_ratio * spec.d_model),
            activation_function="relu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            use_cache=False,
            attn_implementation=attention,
        )
    )
    body = made.transformer
    pairs = [(body.wte.weight, model.W_E), (body.wpe.weight, model.W_pos), (made.lm_head.weight, model.W_U)]
    pairs += [(body.ln_f.weight, model.ln_final.weight), (body.ln_f.bias, model.ln_final.bias)]
    for theirs, ours in zip(body.h, model.blocks, strict=True):
        pairs += [(theirs.ln_1.weight, ours.ln1.weight), (theirs.ln_1.bias, ours.ln1.bias)]
        pairs += [(theirs.ln_2.weight, ours.ln2.weight), (theirs.ln_2.bias, ours.ln2.bias)]
        pairs += [(theirs.attn.c_attn.weight, ours.attn.W_QKV.T), (theirs.attn.c_proj.weight, ours.attn.W_O.T)]
        pairs += [(theirs.mlp.c_fc.weight, ours.mlp[0].weight.T), (theirs.mlp.c_fc.bias, ours.mlp[0].bias)]
        pairs += [(theirs.mlp.c_proj.weight, ours.mlp[2].weight.T), (theirs.mlp.c_proj.bias, ours.mlp[2].bias)]
        for bias in (theirs.attn.c_attn.bias, theirs.attn.c_proj.bias):
            bias.data.zero_()
    for theirs, ours in pairs:
        theirs.data.copy_(ours)
    return made.eval().requires_grad_(False)


def lens_losses(lens: HookedTransformer, tokens_BT: Tensor, hooks: list, rows: int | None = None) -> Tensor:
    """Losses [B T-1] of a TransformerLens model with hooks, `rows` sequences at a time (None: all)."""
    parts = tokens_BT.split(rows or len(tokens_BT))
    return torch.cat(
        [lens.run_with_hooks(part, fwd_hooks=hooks, return_type="loss", loss_per_token=True) for part in parts]
    )


def zero_hook(head: int):
    """Make a hook that overwrites a head's weighted values with zero."""

    def hook(z_BTHE, hook):
        z_BTHE[:, :, head] = 0
        return z_BTHE

    return hook


def overwrite_hook(value: Tensor, head: int | None = None, axis: int = 2):
    """Make a hook that overwrites an activation, or one head's part of it, with a value."""

    def hook(x, hook):
        if head is None:
            return value
        x.select(axis, head).copy_(value)
        return x

    return hook


def lens_ablation(lens: HookedTransformer, tokens_BT: Tensor, heads: list, rows: int | None = None) -> Tensor:
    """Losses with the listed (layer, head) ablated to zero."""
    hooks = [(f"blocks.{layer}.attn.hook_z", zero_hook(head)) for layer, head in heads]
    return lens_losses(lens, tokens_BT, hooks, rows)


def lens_patterns(lens: HookedTransformer, tokens_BT: Tensor) -> dict[str, Tensor]:
    """Every layer's clean attention pattern by hook name."""
    _, cache = lens.run_with_cache(tokens_BT, names_filter=lambda name: name.endswith("hook_pattern"), return_type=None)
    return {name: cache[name] for name in cache}


def lens_pattern_preserving(
    lens: HookedTransformer, tokens_BT: Tensor, head: tuple[int, int], patterns: dict
) -> Tensor:
    """Losses with one head ablated to zero and the patterns of all later layers kept."""
    hooks = [(f"blocks.{head[0]}.attn.hook_z", zero_hook(head[1]))]
    later = range(head[0] + 1, lens.cfg.n_layers)
    hooks += [(name, overwrite_hook(patterns[name])) for name in (f"blocks.{i}.attn.hook_pattern" for i in later)]
    return lens_losses(lens, tokens_BT, hooks)


def gpt2_ablation(theirs: GPT2LMHeadModel, tokens_BT: Tensor, head: tuple[int, int], width: int, rows: int) -> Tensor:
    """Losses with one head ablated to zero by a hook before the output matrix, `rows` sequences at a time."""
    where = slice(head[1] * width, (head[1] + 1) * width)

    def hook(module, args):
        args[0][..., where] = 0

    handle = theirs.transformer.h[head[0]].attn.c_proj.register_forward_pre_hook(hook)
    losses = torch.cat([token_losses(theirs(input_ids=part).logits, part) for part in tokens_BT.split(rows)])
    handle.remove()
    return losses


def attention_back(pattern_BHTT: Tensor, period: int) -> Tensor:
    """Mean attention to the previous token, to the token's last occurrence and to what followed it [3 H]."""
    queries = pattern_BHTT.shape[-1] - period - 1
    return torch.stack(
        [
            pattern_BHTT.diagonal(-1, 2, 3).mean(dim=(0, 2)),
            pattern_BHTT.diagonal(-period, 2, 3)[..., -queries:].mean(dim=(0, 2)),
            pattern_BHTT.diagonal(1 - period, 2, 3)[..., -queries:].mean(dim=(0, 2)),
        ]
    )


def lens_head_scores(lens: HookedTransformer, tokens_BT: Tensor, period: int, rows: int) -> Tensor:
    """The three scores of every head [L 3 H], `rows` sequences at a time."""
    parts = [lens_patterns(lens, part).values() for part in tokens_BT.split(rows)]
    return torch.stack([torch.stack([attention_back(p, period) for p in patterns]) for patterns in parts]).mean(dim=0)


def gpt2_head_scores(theirs: GPT2LMHeadModel, tokens_BT: Tensor, period: int, rows: int) -> Tensor:
    """The three scores of every head [L 3 H], from attentions that the model is asked for."""
    made = []
    for part in tokens_BT.split(rows):
        attentions = theirs.transformer(input_ids=part, output_attentions=True).attentions
        made.append(torch.stack([attention_back(pattern, period) for pattern in attentions]))
    return torch.stack(made).mean(dim=0)


def lens_direct_logits(lens: HookedTransformer, tokens_BT: Tensor, period: int, rows: int) -> Tensor:
    """Each head's direct effect on the next token's logit over repeats, by the library's own tools [L H]."""
    queries = slice(1 + period, -1)
    unembedding_VD = ((lens.W_U - lens.W_U.mean(dim=1, keepdim=True)).T * lens.ln_final.w).contiguous()
    made = []
    for part in tokens_BT.split(rows):
        _, cache = lens.run_with_cache(
            part, names_filter=lambda name: name.endswith(("hook_z", "ln_final.hook_scale")), return_type=None
        )
        results = cache.stack_head_results(layer=-1, pos_slice=queries)
        scaled = cache.apply_ln_to_stack(results, layer=-1, pos_slice=queries)
        # What its `logit_attrs` does, with the logits centred.
        made.append((scaled * unembedding_VD[part[:, 2 + period :]]).sum(dim=-1).mean(dim=(1, 2)))
    return torch.stack(made).mean(dim=0).view(lens.cfg.n_layers, lens.cfg.n_heads)


def lens_clean(lens: HookedTransformer, tokens_BT: Tensor) -> dict[str, Tensor]:
    """Every layer's clean attention and MLP output by hook name."""
    ends = ("hook_attn_out", "hook_mlp_out")
    _, cache = lens.run_with_cache(tokens_BT, names_filter=lambda name: name.endswith(ends), return_type=None)
    return {name: cache[name] for name in cache}


def lens_paths(
    lens: HookedTransformer,
    tokens_BT: Tensor,
    source: tuple[int, int],
    receivers: list[tuple[int, int]],
    put_BTE: Tensor,
    clean: dict[str, Tensor],
    kind: str = "q",
) -> list[Tensor]:
    """Losses with each path from one head to a later head's queries, keys or values cut.

    One pass freezes everything but the source's output and records the inputs of all receivers;
    then one pass for each receiver overwrites its input.
    """
    recorded = {}

    def record(x, hook):
        recorded[hook.name] = x.clone()

    hooks = [(f"blocks.{source[0]}.attn.hook_z", overwrite_hook(put_BTE, source[1]))]
    # The attention output of the source's own layer must stay free: it carries the change.
    own = f"blocks.{source[0]}.hook_attn_out"
    hooks += [(name, overwrite_hook(value)) for name, value in clean.items() if name != own]
    hooks += [(f"blocks.{layer}.attn.hook_{kind}", record) for layer in range(source[0] + 1, lens.cfg.n_layers)]
    lens.run_with_hooks(tokens_BT, fwd_hooks=hooks, return_type=None)
    return [
        lens_losses(lens, tokens_BT, [(name, overwrite_hook(recorded[name][:, :, head], head))])
        for name, head in ((f"blocks.{layer}.attn.hook_{kind}", head) for layer, head in receivers)
    ]


class PlainGPT(torch.nn.Module):
    """A plain decoder: one module for each matrix, fused attention, the library's cross-entropy."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, context: int):
        super().__init__()
        self.heads = heads
        self.tokens, self.places = torch.nn.Embedding(vocabulary, width), torch.nn.Embedding(context, width)
        linear = torch.nn.Linear
        self.blocks = torch.nn.ModuleList(
            torch.nn.ModuleDict(
                {
                    "ln1": torch.nn.LayerNorm(width),
                    "qkv": linear(width, 3 * width, bias=False),
                    "out": linear(width, width, bias=False),
                    "ln2": torch.nn.LayerNorm(width),
                    "up": linear(width, 4 * width),
                    "down": linear(4 * width, width),
                }
            )
            for _ in range(layers)
        )
        self.last, self.head = torch.nn.LayerNorm(width), linear(width, vocabulary, bias=False)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean loss; a target of -1 counts for nothing."""
        B, T = tokens_BT.shape
        x = self.tokens(tokens_BT) + self.places(torch.arange(T))
        for block in self.blocks:
            q, k, v = (
                part.view(B, T, self.heads, -1).transpose(1, 2)
                for part in block["qkv"](block["ln1"](x)).split(x.shape[-1], dim=2)
            )
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, -1)
            x = x + block["out"](z)
            x = x + block["down"](F.relu(block["up"](block["ln2"](x))))
        logits = self.head(self.last(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets_BT.view(-1), ignore_index=-1)


def plain_gpt(model: Transformer) -> PlainGPT:
    """A PlainGPT with the weights of a model with learned positions and MLPs of four times the width."""
    spec = model.spec
    made = PlainGPT(spec.n_layers, spec.d_model, spec.n_heads, spec.vocab_size, spec.n_ctx)
    pairs = [(made.tokens.weight, model.W_E), (made.places.weight, model.W_pos), (made.head.weight, model.W_U)]
    pairs += [(made.last.weight, model.ln_final.weight), (made.last.bias, model.ln_final.bias)]
    for theirs, ours in zip(made.blocks, model.blocks, strict=True):
        pairs += [(theirs["qkv"].weight, ours.attn.W_QKV), (theirs["out"].weight, ours.attn.W_O)]
        for name, norm in (("ln1", ours.ln1), ("ln2", ours.ln2)):
            pairs += [(theirs[name].weight, norm.weight), (theirs[name].bias, norm.bias)]
        for name, part in (("up", ours.mlp[0]), ("down", ours.mlp[2])):
            pairs += [(theirs[name].weight, part.weight), (theirs[name].bias, part.bias)]
    for theirs, ours in pairs:
        theirs.data.copy_(ours.data)
    return made


class PlainFive(torch.nn.Module):
    """The five-token model in plain form: fused attention, one module for each matrix."""

    def __init__(self, vectors_NF: Tensor, labels: int, layers: int, width: int, heads: int):
        super().__init__()
        linear, norm = torch.nn.Linear, torch.nn.LayerNorm
        self.vectors, self.heads = vectors_NF, heads
        self.exemplars, self.labels = linear(vectors_NF.shape[1], width), torch.nn.Embedding(labels, width)
        self.norms = torch.nn.ModuleList(norm(width) for _ in range(layers))
        self.qkv = torch.nn.ModuleList(linear(width, 3 * width, bias=False) for _ in range(layers))
        self.out = torch.nn.ModuleList(linear(width, width, bias=False) for _ in range(layers))
        self.last, self.head = norm(width), linear(width, labels)
        rate = 10_000.0 ** -(torch.arange(0, width // heads, 2) / (width // heads))
        angle = (torch.arange(5)[:, None] * rate).repeat_interleave(2, dim=1)
        self.cos, self.sin = angle.cos(), angle.sin()

    def rotate(self, x_BHTE: Tensor) -> Tensor:
        """Rotary positions: neighbouring channels are rotated in pairs."""
        swapped = torch.stack((-x_BHTE[..., 1::2], x_BHTE[..., 0::2]), dim=-1).flatten(-2)
        return x_BHTE * self.cos + swapped * self.sin

    def forward(self, tokens_B6: Tensor) -> Tensor:
        """Mean loss of the query's label."""
        shown = self.exemplars(self.vectors[tokens_B6[:, 0:5:2] - self.labels.num_embeddings])
        named = self.labels(tokens_B6[:, 1:4:2])
        x = torch.stack((shown[:, 0], named[:, 0], shown[:, 1], named[:, 1], shown[:, 2]), dim=1)
        B, T, D = x.shape
        for norm, qkv, out in zip(self.norms, self.qkv, self.out, strict=True):
            q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in qkv(norm(x)).split(D, dim=2))
            z = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
            x = x + out(z.transpose(1, 2).reshape(B, T, D))
        return F.cross_entropy(self.head(self.last(x[:, -1])), tokens_B6[:, 5])


def plain_five(model: Transformer, vectors_NF: Tensor) -> PlainFive:
    """A PlainFive with the weights of a model without MLPs, and the vectors of its exemplars."""
    spec = model.spec
    made = PlainFive(vectors_NF, spec.vocab_size, spec.n_layers, spec.d_model, spec.n_heads)
    pairs = [(made.exemplars.weight, model.W_F), (made.exemplars.bias, model.b_F), (made.labels.weight, model.W_E)]
    pairs += [(made.last.weight, model.ln_final.weight), (made.last.bias, model.ln_final.bias)]
    pairs += [(made.head.weight, model.W_U), (made.head.bias, model.b_U)]
    for norm, qkv, out, block in zip(made.norms, made.qkv, made.out, model.blocks, strict=True):
        pairs += [(norm.weight, block.ln1.weight), (norm.bias, block.ln1.bias)]
        pairs += [(qkv.weight, block.attn.W_QKV), (out.weight, block.attn.W_O)]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    return made
