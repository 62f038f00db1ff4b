"""Metrics of the review's experiments: what context is worth, by swapping it, and how questions are answered.

Context: the model reads a document with the first part of its context taken from another document,
and predicts the same late tokens after the same few local ones. What the true context saved, in nats
a token, is what the model took from it. A donor that follows another bigram table takes away phrases
and table alike, one of the same table the phrases alone. The plain in-context score misleads here:
tokens that copying cannot reach get easier along a document for other reasons too, and copyable ones
get rarer surprises.

Shape suffixes: B document, T token, T1 predicted token, C copy, K table, S successor, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import metric
from reinduce.config.job_specs import require
from reinduce.metrics.inputs import ROWS, EvaluationSets, MetricInputs
from reinduce.metrics.tolerances import NATS, SHARES
from reinduce.studies.review2026.tasks.bigram_mixture import successor_tables
from reinduce.tasks.evaluation_sets import EvaluationSet

if TYPE_CHECKING:
    from torch import Tensor

    from reinduce.model.transformer import Transformer

LOCAL = 8
"""True tokens kept between a swapped context and the first token whose loss is compared."""


@metric(
    level="model",
    unit="nats a token",
    evaluation_set="heldout",
    also=("contexts",),
    sites=("losses",),
    null="about 0 for a donor of the same table, on inferred tokens",
    tolerance=NATS,
)
def context_swap(inputs: MetricInputs) -> dict[str, tuple[float, int]]:
    """Loss with the true context minus loss with a donor's, at late indices; negative: the true context helps.

    The donor's document replaces the first part of the context; both losses are of the same late tokens, after
    the same eight local ones. Suffix `class:donor`. Classes: `copied`, continuations of a phrase whose bigram
    stands in the swapped part and not in the local one; `inferred`, continuations of a run whose bigram has
    not been seen at all.
    """
    contexts, (low, high) = read_contexts(inputs.sets), inputs.settings.icl_position_ranges[0].late
    cut, tokens_BT, found = low - LOCAL, inputs.tokens, {}
    classes = {name: mask[:, low - 1 : high] for name, mask in classify_tokens(tokens_BT, contexts, cut).items()}
    for donor, other_BT in contexts.donors.items():
        swapped = inputs.losses_on(torch.cat((other_BT[:, :cut], tokens_BT[:, cut:]), dim=1))
        change = (inputs.losses - swapped)[:, low - 1 : high].double()
        for name, member in classes.items():
            found[f"{name}:{donor}"] = change[member].mean().item(), int(member.sum())
    return found


@metric(
    level="model",
    unit="nats",
    evaluation_set="heldout",
    also=("contexts",),
    null="0 for a model that does not know the document's table",
    tolerance=NATS,
)
def topic_log_odds(inputs: MetricInputs) -> dict[str, tuple[float, int]]:
    """Log-probability of the own table's successors minus the mean of the other tables'.

    At inferred tokens whose predecessor is new to the document: otherwise a model that copies seems to
    know the table. Suffix `early` or `late`: the ranges of token indices that the in-context score compares.
    """
    pair, contexts = inputs.settings.icl_position_ranges[0], read_contexts(inputs.sets)
    found = compare_topics(inputs.model, inputs.tokens, contexts, (pair.early, pair.late), pair.late[0] - LOCAL)
    return dict(zip(("early", "late"), found, strict=True))


def sum_answers(losses_CBT1: Tensor, sets: EvaluationSets, documents: slice, rows: slice) -> dict[str, Tensor]:
    """Return the share of `answer_probability` that some documents contribute, for copies of a model.

    Args:
        losses_CBT1: losses of the copies on `rows`.
        sets: the task's evaluation sets.
        documents: the held-out documents that count.
        rows: which of these the losses are of.

    Returns:
        Kind of question → its part [C].
    """
    found = {}
    for asked in read_questions(sets["answers"]):
        asked = asked.among(documents)
        found[asked.kind] = (
            rescale_answers(losses_CBT1, asked.is_answer[rows], asked.chance).sum(dim=1) / asked.is_answer.sum()
        )
    return found


@metric(
    level="model",
    unit="probability, rescaled",
    value_range=(None, 1),
    evaluation_set="heldout",
    also=("answers",),
    sites=("losses",),
    summand=sum_answers,
    null="about 0 before training",
    tolerance=SHARES,
)
def answer_probability(inputs: MetricInputs) -> dict[str, float]:
    """Probability of the right answer, averaged over the answers to one kind of question.

    From 0 (chance for one who knows the kind but not the document) to 1. It is the accuracy of a model
    that draws its answers from what it predicts: no threshold, and defined from losses alone.
    """
    return {
        asked.kind: rescale_answers(inputs.losses, asked.is_answer, asked.chance).mean().item()
        for asked in read_questions(inputs.sets["answers"])
    }


@dataclass(frozen=True)
class Questions:
    """The questions of one kind that a task's held-out documents ask."""

    kind: str
    is_answer: Tensor
    """Which predicted tokens answer one [B T-1], bool; at least one does."""
    chance: float
    """Probability of the right answer for one who knows the kind but not the document."""

    def among(self, rows: slice) -> Questions:
        """Return those that some of the documents ask. Raises ValueError if there are none."""
        is_answer = self.is_answer[rows]
        require(bool(is_answer.any()), f"none of {len(is_answer)} documents asks a question of kind {self.kind!r}")
        return Questions(self.kind, is_answer, self.chance)


def read_questions(answers: EvaluationSet) -> list[Questions]:
    """Return every kind of question that a task's held-out documents ask, read once."""
    return answers.derive("questions", _collect_questions)


def _collect_questions(answers: EvaluationSet) -> list[Questions]:
    kinds, is_answer = answers.column("kind"), answers.column("is_answer")[:, 1:]
    chance = dict(zip(kinds, answers.column("chance").tolist(), strict=True))
    return [
        Questions(kind, is_answer & torch.tensor([k == kind for k in kinds])[:, None], chance[kind]) for kind in chance
    ]


def rescale_answers(losses: Tensor, is_answer_BT1: Tensor, chance: float) -> Tensor:
    """Return the probability of each right answer [..., questions] on a scale from 0 by chance to 1 for certain.

    Args:
        losses: losses [..., B, T-1].
        is_answer_BT1: which predicted tokens answer a question.
        chance: the probability that counts as 0.
    """
    return ((-losses[..., is_answer_BT1].double()).exp() - chance) / (1 - chance)


@dataclass(frozen=True)
class Contexts:
    """The held-out documents' tables, segments and donors."""

    tables_KVS: Tensor
    """Every table's successors."""
    table: Tensor
    """The table of each document [B]."""
    is_phrase: Tensor
    """Whether a token stands in a private phrase [B T]."""
    offset: Tensor
    """A token's place in its phrase or run [B T]."""
    donors: Mapping[str, Tensor]
    """Name of a kind of donor → documents [B T]."""


def read_contexts(sets: EvaluationSets) -> Contexts:
    """Return the contexts of a task's held-out documents, read once."""
    return sets["contexts"].derive("contexts", lambda _: _collect_contexts(sets))


def _collect_contexts(sets: EvaluationSets) -> Contexts:
    columns: Any = sets["contexts"].column
    donors = {name: columns(name) for name in ("same_table", "other_table")}
    spec = sets.task.spec
    return Contexts(successor_tables(spec), columns("table"), columns("is_phrase"), columns("offset"), donors)


def classify_tokens(tokens_BT: Tensor, contexts: Contexts, cut: int) -> dict[str, Tensor]:
    """Return which predicted tokens are copied and which inferred [B T-1] each (see `context_swap`)."""
    same_bigram = _same_bigram(tokens_BT)
    continues = contexts.offset > 0
    before_cut = same_bigram[:, :, :cut].any(dim=2)
    after_cut = same_bigram[:, :, cut:].any(dim=2)
    return {
        "copied": (contexts.is_phrase & continues & before_cut & ~after_cut)[:, 1:],
        "inferred": (~contexts.is_phrase & continues & ~before_cut & ~after_cut)[:, 1:],
    }


def _same_bigram(tokens_BT: Tensor) -> Tensor:
    """Return whether token i, with its predecessor, repeats token j with its own, for j before i [B T T]."""
    equal = tokens_BT[:, :, None] == tokens_BT[:, None, :]
    found = torch.zeros_like(equal)
    # The start token is no predecessor.
    found[:, 2:, 2:] = equal[:, 2:, 2:] & equal[:, 1:-1, 1:-1]
    return found.tril(-1)


def compare_topics(
    model: Transformer, tokens_BT: Tensor, contexts: Contexts, windows: Sequence[tuple[int, int]], cut: int
) -> list[tuple[float, int]]:
    """Return the log odds of the document's own table, and the number of tokens, between two indices each.

    Only after predecessors that are new to the document: what followed one before is of its
    table too, so that a model which copies would seem to know the table.
    """
    seen = (tokens_BT[:, :, None] == tokens_BT[:, None, :]).tril(-1).any(dim=2)[:, :-1]
    inferred = classify_tokens(tokens_BT, contexts, cut)["inferred"] & ~seen
    at = [slice(low - 1, high) for low, high in windows]
    parts = [[logits[:, where] for where in at] for logits in (model(part)[0] for part in tokens_BT.split(ROWS))]
    logits_WBTV = [torch.cat(window) for window in zip(*parts, strict=True)]
    return [
        _log_odds(logits, tokens_BT[:, where], inferred[:, where], contexts)
        for logits, where in zip(logits_WBTV, at, strict=True)
    ]


def _log_odds(logits_BTV: Tensor, tokens_BT: Tensor, member: Tensor, contexts: Contexts) -> tuple[float, int]:
    """Return the log odds after those tokens that are members, and their number."""
    log_probability_NV = logits_BTV[member].double().log_softmax(dim=-1)
    predecessor_N = tokens_BT[member]
    own_N = contexts.table[:, None].expand(member.shape)[member]
    successors_NKS = contexts.tables_KVS[:, predecessor_N].transpose(0, 1)
    gathered = log_probability_NV[:, None].expand(-1, successors_NKS.shape[1], -1).gather(2, successors_NKS)
    of_table_NK = gathered.logsumexp(dim=2)
    own = of_table_NK.gather(1, own_N[:, None])[:, 0]
    others = (of_table_NK.sum(dim=1) - own) / (of_table_NK.shape[1] - 1)
    return (own - others).mean().item(), len(own)
