"""Everything that is measured on one checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import MeasureSpec
from reinduce.model.transformer import Transformer
from reinduce.score import heads, losses, weights
from reinduce.score.contexts import Contexts, read_contexts
from reinduce.task.evaluation import (
    Questions,
    copyable,
    in_context_score,
    loss_indices,
    read_examples,
    read_questions,
    skill,
)

VERSIONS = {
    "prefix_matching": 1,
    "fuzzy_matching": 1,
    "fuzzy_matching_shuffled": 1,
    "copying": 1,
    "previous_token": 1,
    "qk_trace": 1,
    "ov_eigenvalues": 1,
    "loss": 1,
    "icl_score": 1,
    "loss_derivative": 1,
    "repeat_loss": 1,
    "repeat_gain": 1,
    "skill": 1,
    "icl_spread": 1,
    "swap_copied": 1,
    "swap_inferred": 1,
    "table_advantage": 1,
}
"""Raised when a measure's definition changes, so that old and new values never mix."""

PREVIOUS_TOKEN_EXAMPLES = 32
"""Held-out examples whose attention is looked at; the paper used one."""


def version(metric: str) -> int:
    """The version of a metric, whatever pair or class its name adds."""
    base = metric.split(":")[0]
    return VERSIONS[base if base in VERSIONS else base.rsplit("_", 1)[0]]


@dataclass(frozen=True)
class FrozenSets:
    """The evaluation sequences of a task, the same for every checkpoint."""

    heldout: Tensor
    """Documents of the task [B T]."""
    loss_index: Tensor
    """One fixed random token index per document [B]."""
    copyable: Tensor
    """Whether a predicted token repeats an earlier bigram of its document [B T-1]."""
    repeated: Tensor
    """A start token and distinct random tokens, repeated [B T]."""
    random: Tensor
    """A start token and distinct random tokens [B T]."""
    contexts: Contexts | None = None
    """Contexts to swap, of the tasks that have them."""
    translated: dict[str, Tensor] = field(default_factory=dict)
    """Of tasks with two languages: a start token, random words and their translations, in the same
    order (`fuzzy_matching`) and in another (`fuzzy_matching_shuffled`) [B T] each."""
    questions: list[Questions] = field(default_factory=list)
    """Of tasks that ask."""

    @property
    def period(self) -> int:
        """Length of the repeated part."""
        return self.random.shape[1] - 1


def read_frozen_sets(folder: Path) -> FrozenSets:
    """Read a task's frozen evaluation sets."""
    heldout, translated = read_examples(folder / "heldout.parquet"), folder / "translated.parquet"
    columns = {"fuzzy_matching": "tokens", "fuzzy_matching_shuffled": "shuffled"} if translated.is_file() else {}
    return FrozenSets(
        heldout,
        loss_indices(folder / "heldout.parquet"),
        copyable(heldout)[:, 1:],
        read_examples(folder / "repeated.parquet"),
        read_examples(folder / "random.parquet"),
        read_contexts(folder),
        {metric: read_examples(translated, column) for metric, column in columns.items()},
        read_questions(folder),
    )


@torch.no_grad()
def head_scores(model: Transformer, sets: FrozenSets) -> dict[str, list[Tensor | None]]:
    """Per metric and layer, a value for every head [H]; None where a layer is not scored. Empty without heads."""
    if not model.spec.has_heads:
        return {}
    layers = range(model.spec.layers)
    back = heads.repeat_offsets(sets.period, sets.repeated.shape[1])
    on_repeated = heads.attention_at(model, sets.repeated, back)
    on_heldout = heads.attention_at(model, sets.heldout[:PREVIOUS_TOKEN_EXAMPLES], [1])
    _, on_random = model(sets.random, capture=[f"blocks.{layer}.attn.v" for layer in layers])
    previous = [heads.previous_token(weights[0]) for weights in on_heldout]
    translated = {
        metric: [
            heads.prefix_matching(weights, sets.period)
            for weights in heads.attention_at(model, tokens, heads.repeat_offsets(sets.period, tokens.shape[1]))
        ]
        for metric, tokens in sets.translated.items()
    }
    return translated | {
        "prefix_matching": [heads.prefix_matching(weights, sets.period) for weights in on_repeated],
        "previous_token": previous,
        "copying": [heads.copying(model, layer, on_random[f"blocks.{layer}.attn.v"], sets.random) for layer in layers],
        "ov_eigenvalues": [weights.ov_eigenvalues(model, layer) for layer in layers],
        "qk_trace": [weights.qk_trace(model, layer, previous) if layer else None for layer in layers],
    }


def model_scores(heldout_BT1: Tensor, repeated_BT1: Tensor, sets: FrozenSets, spec: MeasureSpec) -> dict[str, float]:
    """Measures of the whole model, from its losses on held-out and on repeated sequences."""
    primary = spec.pairs[0]
    made = {
        "loss": heldout_BT1.double().mean().item(),
        "icl_score": in_context_score(heldout_BT1, primary),
        "icl_score_copyable": in_context_score(heldout_BT1, primary, sets.copyable),
        "icl_score_other": in_context_score(heldout_BT1, primary, ~sets.copyable),
        "icl_spread": losses.spread_over_documents(heldout_BT1, primary),
        "loss_derivative": losses.derivative_by_log_index(heldout_BT1, *spec.derivative),
        "repeat_loss": losses.repeat_loss(repeated_BT1, sets.period),
        "repeat_gain": losses.repeat_gain(repeated_BT1, sets.period),
    }
    for asked in sets.questions:
        made[f"skill:{asked.kind}"] = skill(heldout_BT1, asked.is_answer, asked.chance).mean().item()
    return made | {f"icl_score:{pair.name}": in_context_score(heldout_BT1, pair) for pair in spec.pairs}


def score_rows(
    per_head: dict[str, list[Tensor | None]], of_model: dict[str, float], heads_per_layer: int, sets: FrozenSets
) -> Iterator[dict]:
    """Rows of the `scores` table, without the run's keys."""
    sizes = {
        "prefix_matching": len(sets.repeated),
        "fuzzy_matching": len(sets.repeated),
        "fuzzy_matching_shuffled": len(sets.repeated),
        "previous_token": PREVIOUS_TOKEN_EXAMPLES,
        "copying": len(sets.random),
    }
    for metric, layers in per_head.items():
        for layer, values in enumerate(layers):
            for head in range(heads_per_layer):
                value = None if values is None else values[head].item()
                yield {
                    "layer": layer,
                    "head": head,
                    "metric": metric,
                    "metric_version": version(metric),
                    "value": value,
                    "n": sizes.get(metric, 1),
                }
    for metric, value in of_model.items():
        n = len(sets.repeated) if metric.startswith("repeat_") else len(sets.heldout)
        yield {"metric": metric, "metric_version": version(metric), "value": value, "n": n}
