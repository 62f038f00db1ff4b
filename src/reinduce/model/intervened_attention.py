"""A layer's attention under interventions on its sites, or with some of them captured.

Only what is needed is computed: a site that is overwritten as a whole is not, and the attention
pattern is formed only where an intervention or a captured site needs it. With nothing to do it
gives what `Attention.forward` gives (`tests/model/test_intervened_attention.py`).

Shape suffixes: A, B batch, T position, Q query, H head, D model width, E head width.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from reinduce.model.attention import (
    apply_head_pattern,
    apply_pattern,
    fused_attention,
    fused_attention_with_lse,
    mask_future,
)
from reinduce.model.interventions import (
    Cache,
    Intervention,
    Interventions,
    apply_and_capture,
    broadcast_value,
    count_positions,
    resolve_activation,
)
from reinduce.model.sites import site_shape

if TYPE_CHECKING:
    from reinduce.model.transformer import Attention


def is_touched(layer: int, interventions: Interventions, cache: Cache) -> bool:
    """True if an intervention changes a site inside a layer's attention, or if one of them is captured."""
    inside = f"blocks.{layer}.attn."
    return any(each.site.startswith(inside) for each in interventions) or any(
        name.startswith(inside) for name in cache or ()
    )


def intervened_attention(
    attn: "Attention",
    layer: int,
    x_BTD: Tensor,
    interventions: Interventions = (),
    cache: Cache = None,
) -> Tensor:
    """Compute the sum of a layer's heads, with interventions on the sites of its attention.

    Args:
        attn: the layer's attention.
        layer: its index.
        x_BTD: the normalised residual stream.
        interventions: interventions on any sites; those on sites outside the attention are ignored.
        cache: captured activations by site; the extra site `blocks.L.attn.lse` asks for the log-sum-exp of
            the scores [B H T], which exists where no pattern is formed.

    Returns:
        The heads' sum [B T D], before interventions on `attn_out`.
    """
    name, (B, T, _) = f"blocks.{layer}.attn", x_BTD.shape
    wanted = {intervention.site for intervention in interventions}.union(cache or ())
    q, k, v = _queries_keys_values(attn, name, x_BTD, interventions, cache, wanted)
    on_pattern = [each for each in interventions if each.site == f"{name}.pattern"]
    on_scores = [each for each in interventions if each.site == f"{name}.scores"]
    captured = not {f"{name}.pattern", f"{name}.scores"}.isdisjoint(cache or ())
    if (
        captured
        or not all(each.overwrites_one_head for each in on_pattern)
        or not all(each.is_batch_constant for each in on_scores)
    ):
        z = apply_pattern(_pattern(attn, name, q, k, (B, T), interventions, cache), v)
    else:
        # No pattern is formed: values that are added to the scores go with the causal mask, and a head
        # whose pattern is overwritten is computed from its values by itself.
        assert q is not None and k is not None
        bias = attention_bias(attn, name, (1, T), on_scores) if on_scores else None
        if f"{name}.lse" in wanted:
            z, lse = fused_attention_with_lse(q, k, v, bias)
            apply_and_capture(f"{name}.lse", lse, (), cache)
        else:
            z = fused_attention(q, k, v, bias)
        for each in on_pattern:
            assert isinstance(each.value, Tensor) and each.head is not None
            pattern_BQT = broadcast_value(each.value, (B, count_positions(each.positions, T), T)).to(v)
            z_BQE = apply_head_pattern(pattern_BQT, v[:, :, each.head])
            z = Intervention(f"{name}.z", z_BQE, each.head, positions=each.positions).apply(z)
    z = apply_and_capture(f"{name}.z", z, interventions, cache)
    if f"{name}.head_out" in wanted:
        return apply_and_capture(f"{name}.head_out", attn.head_out(z), interventions, cache).sum(dim=2)
    return attn.sum_heads(z)


def _queries_keys_values(
    attn: "Attention",
    name: str,
    x_BTD: Tensor,
    interventions: Interventions,
    cache: Cache,
    wanted: set[str],
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Queries, keys and values [B T H E]; None for queries and keys where nothing depends on them."""
    overwritten = {each.site for each in interventions if each.overwrites_site}
    needed = "qkv"
    for site, inputs in (("pattern", ("q", "k", "scores")), ("scores", ("q", "k"))):
        if f"{name}.{site}" in overwritten and wanted.isdisjoint(f"{name}.{kind}" for kind in inputs):
            needed = "v"
    # A projection that is overwritten as a whole is not computed; all three together are one matrix product.
    computed = [kind for kind in needed if f"{name}.{kind}" not in overwritten]
    if len(computed) == 3:
        projected = dict(zip("qkv", attn.qkv(x_BTD), strict=True))
    else:
        projected = {kind: attn.project(kind, x_BTD) for kind in computed}
    (B, T, _), spec = x_BTD.shape, attn.spec
    q, k, v = (
        resolve_activation(spec, f"{name}.{kind}", projected.get(kind), (B, T), interventions, cache)
        if kind in needed
        else None
        for kind in "qkv"
    )
    assert v is not None
    return q, k, v


def _pattern(
    attn: "Attention",
    name: str,
    q_BTHE: Tensor | None,
    k_BTHE: Tensor | None,
    size: tuple[int, int],
    interventions: Interventions,
    cache: Cache,
) -> Tensor:
    """Attention pattern of a layer [B H T T], query by key, for a batch of size (B, T).

    Without queries and keys it is that of the overwritten scores, or the pattern that overwrites it:
    [A H T T] if that has fewer rows and nothing else changes or captures it.
    """
    here = [each for each in interventions if each.site == f"{name}.pattern"]
    if q_BTHE is None and any(each.overwrites_site for each in here):
        last = here[-1].value
        used_as_it_is = here[-1].overwrites_site and f"{name}.pattern" not in (cache or ())
        if used_as_it_is and isinstance(last, Tensor) and last.ndim == 4:
            return last
        return resolve_activation(attn.spec, f"{name}.pattern", None, size, interventions, cache)
    scores = None if q_BTHE is None or k_BTHE is None else attn.scores(q_BTHE, k_BTHE)
    scores = resolve_activation(attn.spec, f"{name}.scores", scores, size, interventions, cache)
    return apply_and_capture(f"{name}.pattern", mask_future(scores).softmax(dim=-1), here, cache)


def attention_bias(attn: "Attention", name: str, size: tuple[int, int], interventions: Interventions) -> Tensor:
    """Sum what interventions add to a layer's attention scores, with minus infinity for future keys.

    Args:
        attn: the layer's attention.
        name: its prefix, `blocks.L.attn`.
        size: (1, T), since the same is added to every sequence.
        interventions: on the layer's scores; each adds.

    Returns:
        The bias [1 H T T].
    """
    bias = attn.W_QKV.new_zeros(site_shape(attn.spec, f"{name}.scores", *size))
    for intervention in interventions:
        bias = intervention.apply(bias)
    return mask_future(bias)
