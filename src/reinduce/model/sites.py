"""The names and shapes of a model's activations.

Names follow TransformerLens without its `hook_` prefix, so that the field keeps one
vocabulary. Shapes use B batch, T position, H head, D model width, E head width, V vocabulary.

| site | shape | activation |
|---|---|---|
| `embed` | B T D | token embedding |
| `blocks.L.resid_pre` | B T D | residual stream before block L |
| `blocks.L.attn.q`, `.k`, `.v` | B T H E | queries, keys (after smearing), values |
| `blocks.L.attn.scores` | B H T T | query by key, before the causal mask and the softmax |
| `blocks.L.attn.pattern` | B H T T | attention, query by key; each row sums to one |
| `blocks.L.attn.z` | B T H E | values weighted by the pattern, before the output matrix |
| `blocks.L.attn.head_out` | B T H D | output of each head to the residual stream |
| `blocks.L.attn_out` | B T D | sum of the heads' outputs |
| `blocks.L.recurrence_out` | B T D | output of a recurrence (models without attention, in place of all above) |
| `blocks.L.mlp_out` | B T D | output of the MLP (models with an MLP only) |
| `resid_post` | B T D | residual stream after the last block |
| `logits` | B T V | logits of the next token |
"""

from reinduce.config.job_specs import ModelSpec

HEAD_AXIS = {"q": 2, "k": 2, "v": 2, "z": 2, "head_out": 2, "scores": 1, "pattern": 1}
"""Kind of a site with heads → the axis that indexes them."""

METRIC_SITES = (
    "embed",
    "resid_pre",
    *HEAD_AXIS,
    "attn_out",
    "recurrence_out",
    "mlp_out",
    "resid_post",
    "logits",
    "attention",
    "losses",
)
"""What a metric may ask for: kinds of sites, attention to keys some tokens back, and losses."""

SOLE_CONSUMER = {"pattern": ("q", "k", "scores"), "attn_out": ("z", "head_out")}
"""Kind of a site → kinds of the same layer that this site alone is computed from."""


def site_names(spec: ModelSpec) -> list[str]:
    """List every site of a model in the order of the forward pass.

    Args:
        spec: the model's specification.

    Returns:
        The sites' names.
    """
    names = ["embed"]
    for layer in range(spec.n_layers):
        block = f"blocks.{layer}"
        names.append(f"{block}.resid_pre")
        if spec.has_heads:
            names += [f"{block}.attn.{kind}" for kind in ("q", "k", "v", "scores", "pattern", "z", "head_out")]
        names.append(f"{block}.attn_out" if spec.has_heads else f"{block}.recurrence_out")
        if spec.mlp_ratio:
            names.append(f"{block}.mlp_out")
    return [*names, "resid_post", "logits"]


def site_kind(site: str) -> str:
    """Return a site's name without its layer, e.g. 'pattern' for 'blocks.0.attn.pattern'."""
    return site.rsplit(".", 1)[-1]


def site_shape(spec: ModelSpec, site: str, batch: int, n_ctx: int) -> tuple[int, ...]:
    """Return the shape of the activation at a site.

    Args:
        spec: the model's specification.
        site: a name from `site_names`.
        batch: number of sequences.
        n_ctx: number of tokens of each sequence.

    Returns:
        The shape, as in the table above.
    """
    kind = site_kind(site)
    if kind in ("scores", "pattern"):
        return batch, spec.n_heads, n_ctx, n_ctx
    if kind in HEAD_AXIS:
        return batch, n_ctx, spec.n_heads, spec.d_model if kind == "head_out" else spec.d_head
    return batch, n_ctx, spec.vocab_size if kind == "logits" else spec.d_model


def position_axis(kind: str) -> int:
    """Return the axis of token positions at a kind of site; of scores and patterns, that of the queries."""
    return 2 if kind in ("scores", "pattern") else 1
