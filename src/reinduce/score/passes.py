"""One forward pass for each evaluation set, with the union of what the asked metrics need of it.

Shape suffixes: B example, T token.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from reinduce.config.declare import Metric
from reinduce.config.job_specs import ModelSpec
from reinduce.model.interventions import Intervention, apply_and_capture, empty_cache
from reinduce.model.sites import site_kind, site_names
from reinduce.model.transformer import Transformer, token_losses

TOKENS = 4096
"""Tokens of a forward pass: enough to fill a core, few enough to stay in its cache."""
OUTPUTS = ("losses", "logits")
"""What a metric may ask for beside activations."""
WITHOUT_PATTERN = ("q", "k", "lse")
"""Sites from which attention at a few offsets follows without a pattern."""


@dataclass
class Pass:
    """What a forward pass over an evaluation set left behind."""

    losses: Tensor | None = None
    """Loss of every predicted token [B T-1]."""
    cache: dict[str, Tensor] = field(default_factory=dict)
    """Activations by site name, and `logits`; of the first examples alone where metrics use no more."""


def plan_passes(metrics: Iterable[Metric]) -> dict[str, dict[str, int | None]]:
    """Return for each evaluation set what is needed of its pass: site → how many examples, None for all."""
    plan: dict[str, dict[str, int | None]] = {}
    for metric in metrics:
        for name in metric.evaluation_sets or filter(None, (metric.evaluation_set,)):
            needed = plan.setdefault(name, {})
            for site in metric.sites:
                before = needed.get(site, 0)
                needed[site] = None if None in (before, metric.examples) else max(before, metric.examples)
    return {name: needed for name, needed in plan.items() if needed}


@torch.no_grad()
def run_pass(model: Transformer, tokens_BT: Tensor, needed: Mapping[str, int | None]) -> Pass:
    """Run the model over an evaluation set.

    Args:
        model: the model.
        tokens_BT: the set's token ids; with one token more than the model reads, that one alone is predicted.
        needed: site → how many examples, as `plan_passes` gives it.
    """
    context = model.spec.n_ctx
    rows = max(1, TOKENS // min(tokens_BT.shape[1], context))
    losses: list[Tensor] = []
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(tokens_BT), rows):
        chunk_BT = tokens_BT[start : start + rows]
        sites = {site for site, examples in needed.items() if examples is None or examples > start}
        if not sites:
            break
        logits_BTV, cache = _run(model, chunk_BT[:, :context], sites)
        if "losses" in sites:
            losses.append(_losses(logits_BTV, chunk_BT))
        for name, value in cache.items():
            parts.setdefault(name, []).append(value)
    return Pass(
        torch.cat(losses) if losses else None,
        {name: torch.cat(values) if len(values) > 1 else values[0] for name, values in parts.items()},
    )


def _losses(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    if tokens_BT.shape[1] <= logits_BTV.shape[1]:
        return token_losses(logits_BTV, tokens_BT)
    return F.cross_entropy(logits_BTV[:, -1], tokens_BT[:, -1], reduction="none")[:, None]


def _run(model: Transformer, tokens_BT: Tensor, sites: set[str]) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return logits, or None where nothing asks for an output, and the cache."""
    formed = sites & {"pattern", "scores"}
    if "attention" in sites and formed:
        # Attention is read without forming a pattern. A pattern that is asked for as well has a pass of its own, so
        # that no value depends on what else is asked.
        logits_BTV, cache = _run(model, tokens_BT, sites - formed)
        return logits_BTV, cache | _run(model, tokens_BT, formed)[1]
    names, has_outputs = names_of(model.spec, sites), bool(sites & set(OUTPUTS))
    if "attention" not in sites:
        logits_BTV, cache = model(tokens_BT, names=names)
    else:
        interventions = model.clamps(tokens_BT)
        attention = _attention_names(model.spec, interventions)
        cache = empty_cache([*names, *attention])
        if has_outputs and any(name.endswith("pattern") for name in attention):
            # Where a clamp forms a pattern, attention is read off it. A formed pattern and the fused attention add
            # in another order; outputs must not depend on what else is asked, so they have a pass of their own.
            logits_BTV, _ = model(tokens_BT)
            _run_blocks(model, tokens_BT, interventions, cache, outputs=False)
        else:
            logits_BTV = _run_blocks(model, tokens_BT, interventions, cache, outputs=has_outputs)
    if "logits" in sites:
        cache["logits"] = logits_BTV
    return logits_BTV, cache


def _run_blocks(
    model: Transformer, tokens_BT: Tensor, interventions: list[Intervention], cache: dict[str, Tensor], outputs: bool
) -> Tensor | None:
    """Run the blocks one by one; without outputs nothing above the last layer's attention is computed."""
    last = model.spec.n_layers - 1
    x_BTD = model.embed(tokens_BT, interventions, cache)
    if outputs or any(".attn." not in name for name in cache):
        return apply_and_capture(
            "logits", model.unembed(model.run_blocks(x_BTD, interventions, cache)), interventions, cache
        )
    for layer in range(last):
        x_BTD = model.block(layer, x_BTD, interventions, cache)
    x_BTD = apply_and_capture(f"blocks.{last}.resid_pre", x_BTD, interventions, cache)
    model.attention(last, model.blocks[last].ln1(x_BTD), interventions, cache)
    return None


def names_of(spec: ModelSpec, sites: Iterable[str]) -> list[str]:
    """Return the names of all of a model's sites of some kinds, such as `v`, `resid_pre` or `resid_post`.

    Raises:
        ValueError: for a kind that the model does not have.
    """
    known, found = site_names(spec), []
    for site in sorted(set(sites) - {*OUTPUTS, "attention"}):
        names = [name for name in known if site in (name, site_kind(name))]
        if not names:
            kinds = ", ".join(dict.fromkeys([*map(site_kind, known), "attention", "losses"]))
            raise ValueError(f"a metric asks for the site {site!r}; there are: {kinds}")
        found += names
    return found


def serves(name: str, sites: Iterable[str]) -> bool:
    """Return whether a cached activation is one of those that a metric asks for.

    Args:
        name: the activation's name.
        sites: what the metric asks for.
    """
    kind = site_kind(name)
    return not {name, kind}.isdisjoint(sites) or ("attention" in sites and kind in (*WITHOUT_PATTERN, "pattern"))


def _attention_names(spec: ModelSpec, interventions: Iterable[Intervention]) -> list[str]:
    formed = {each.site for each in interventions if each.kind in ("pattern", "scores")}
    names = []
    for layer in range(spec.n_layers):
        name = f"blocks.{layer}.attn"
        kinds = ("pattern",) if formed & {f"{name}.pattern", f"{name}.scores"} else WITHOUT_PATTERN
        names += [f"{name}.{kind}" for kind in kinds]
    return names
