"""The `icl_questions` task: every document is one of five small tasks that its context explains.

| kind | document | answers |
|---|---|---|
| `repeat` | a list of random words, over and over | what comes next, from the second time on |
| `recall` | keys with values, both random, keys coming back | the value of a key that stood before |
| `synonym` | keys with random values, then the keys' synonyms | the value of the key that is meant |
| `mapping` | keys, none twice, with values by one of a few rules | the value, once a pair has shown the rule |
| `majority` | random words with labels, most of them the same | the label, once some have been shown |

The first three can be answered by copying what followed a match; for `synonym` the match is
of meanings. In `mapping` no token comes back: the rule must be found out. In `majority`
nothing needs to be matched. Nothing names the kind; keys, values and labels are tokens of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import STRICT, require, stream_seed
from reinduce.tasks.evaluation_sets import write_set
from reinduce.tasks.language import LANGUAGE_SETS, LanguageTask
from reinduce.tasks.token_classes import completes_seen_bigram

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("repeat", "recall", "synonym", "mapping", "majority")
SHOWN_LABELS = 8
"""Labels shown before one counts as an answer."""


@dataclass(frozen=True, kw_only=True)
class QuestionsSpec:
    """`icl_questions`: the distribution of documents."""

    __pydantic_config__ = STRICT

    vocab_size: int
    """Token ids, the start token (0) included: labels, then keys, their synonyms and values in equal parts."""
    n_ctx: int
    """Tokens in a document, the start token included."""
    keys: int = 8
    """Distinct keys of a `recall` document."""
    rules: int = 4
    """Rules of `mapping`; the values of each are a class of their own."""
    labels: int = 8
    """Labels of `majority`."""
    majority: float = 0.8
    """Probability that a label is the document's most common one."""
    list_length: tuple[int, int] = (10, 30)
    """Shortest and longest list of `repeat`."""

    def __post_init__(self) -> None:
        require(self.n_ctx > 2, f"n_ctx must be 3 or more, not {self.n_ctx}")
        require(self.rules > 1, f"rules must be 2 or more, not {self.rules}")
        require(self.labels > 1, f"labels must be 2 or more, not {self.labels}")
        require(0 <= self.majority <= 1, f"majority must lie between 0 and 1, not {self.majority}")
        low, high = self.list_length
        require(1 <= low <= high, f"list_length must be a range from 1 on, not {low} to {high}")
        pairs = -(-(self.n_ctx - 1) // 2)
        # Half a `synonym` document's pairs have keys of their own, all of a `mapping` document's.
        needed = max(-(-pairs // 2), self.rules, self.keys, -(-high // 3))
        require(self.keys > 0, f"keys must be positive, not {self.keys}")
        require(
            self.words >= needed,
            f"vocab_size is {self.vocab_size}, which leaves {self.words} tokens each for keys, synonyms and values; "
            f"{needed} are needed: raise vocab_size to {3 * needed + self.labels + 1}, or lower n_ctx, keys, rules "
            "or list_length",
        )

    @property
    def words(self) -> int:
        """Tokens each for keys, synonyms and values."""
        return (self.vocab_size - 1 - self.labels) // 3

    @property
    def first_key(self) -> int:
        """The first key's token; its synonym's is `words` later, and values begin twice that later."""
        return 1 + self.labels

    @property
    def first_value(self) -> int:
        return self.first_key + 2 * self.words

    @property
    def chance(self) -> dict[str, float]:
        """Kind → probability of the right answer for one who knows the kind but not the document."""
        return {
            "repeat": 1 / (3 * self.words),
            "recall": 1 / self.words,
            "synonym": 1 / self.words,
            "mapping": 1 / self.rules,
            "majority": 1 / self.labels,
        }


@dataclass(frozen=True)
class Documents:
    """Documents, and which of their tokens answer [n, n_ctx] each."""

    tokens: Tensor
    """Token ids, int64."""
    is_answer: Tensor
    """Whether the token is one that the context before it decides, bool."""


def rules(spec: QuestionsSpec) -> Tensor:
    """The value of every key and synonym under every rule [rules, 2 * words]: each rule has values of its own."""
    names = (spec.vocab_size, spec.labels, spec.rules)
    generator = torch.Generator().manual_seed(stream_seed("suite", "rules", *names))
    size = spec.words // spec.rules
    return spec.first_value + torch.stack(
        [rule * size + torch.randint(size, (2 * spec.words,), generator=generator) for rule in range(spec.rules)]
    )


def documents(spec: QuestionsSpec, kinds: Tensor, seed: int) -> Documents:
    """One document of each kind that `kinds` [n] numbers, in KINDS' order; the seed decides them entirely."""
    generator = torch.Generator().manual_seed(seed)
    T = spec.n_ctx - 1
    body = torch.empty(len(kinds), T, dtype=torch.int64)
    is_answer = torch.zeros(len(kinds), T, dtype=torch.bool)
    for number, name in enumerate(KINDS):
        chosen = kinds == number
        if not chosen.any():
            continue
        body[chosen], is_answer[chosen] = DRAW[name](spec, int(chosen.sum()), generator)
    start = torch.zeros(len(kinds), 1, dtype=torch.int64)
    return Documents(torch.cat((start, body), dim=1), torch.cat((start.bool(), is_answer), dim=1))


def _repeat(spec: QuestionsSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    low, high = spec.list_length
    T = spec.n_ctx - 1
    words = spec.first_key + _distinct(3 * spec.words, n, generator)[:, :high]
    length = torch.randint(low, high + 1, (n, 1), generator=generator)
    tokens = words.gather(1, torch.arange(T).expand(n, T) % length)
    return tokens, completes_seen_bigram(torch.nn.functional.pad(tokens, (1, 0)))[:, 1:]


def _recall(spec: QuestionsSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.n_ctx - 1) // 2)
    keys = spec.first_key + _distinct(spec.words, n, generator)[:, : spec.keys]
    values = spec.first_value + torch.randint(spec.words, (n, spec.keys), generator=generator)
    which = torch.randint(spec.keys, (n, pairs), generator=generator)
    before = (which[:, :, None] == which[:, None, :]).tril(-1).any(dim=2)
    return _interleaved(spec, keys.gather(1, which), values.gather(1, which), before)


def _synonym(spec: QuestionsSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.n_ctx - 1) // 2)
    shown = -(-pairs // 2)
    keys = spec.first_key + _distinct(spec.words, n, generator)[:, :shown]
    values = spec.first_value + torch.randint(spec.words, (n, shown), generator=generator)
    order = _distinct(shown, n, generator)[:, : pairs - shown]
    asked = keys.gather(1, order) + spec.words
    is_answer = (torch.arange(pairs) >= shown).expand(n, pairs)
    return _interleaved(
        spec, torch.cat((keys, asked), dim=1), torch.cat((values, values.gather(1, order)), dim=1), is_answer
    )


def _mapping(spec: QuestionsSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.n_ctx - 1) // 2)
    keys = _distinct(2 * spec.words, n, generator)[:, :pairs]
    rule = torch.randint(spec.rules, (n, 1), generator=generator)
    values = rules(spec)[rule, keys]
    return _interleaved(spec, spec.first_key + keys, values, (torch.arange(pairs) > 0).expand(n, pairs))


def _majority(spec: QuestionsSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.n_ctx - 1) // 2)
    words = spec.first_key + torch.randint(2 * spec.words, (n, pairs), generator=generator)
    most = torch.randint(spec.labels, (n, 1), generator=generator)
    other = (most + torch.randint(1, spec.labels, (n, pairs), generator=generator)) % spec.labels
    agrees = torch.rand(n, pairs, generator=generator) < spec.majority
    is_answer = (torch.arange(pairs) >= SHOWN_LABELS).expand(n, pairs)
    return _interleaved(spec, words, 1 + torch.where(agrees, most, other), is_answer)


DRAW = dict(zip(KINDS, (_repeat, _recall, _synonym, _mapping, _majority), strict=True))


def _distinct(below: int, n: int, generator: torch.Generator) -> Tensor:
    """`n` orders of the numbers below a bound [n, below]."""
    return torch.rand(n, below, generator=generator).argsort(dim=1, stable=True)


def _interleaved(spec: QuestionsSpec, asked: Tensor, given: Tensor, is_answer: Tensor) -> tuple[Tensor, Tensor]:
    """Questions and what follows them in turn, as long as the document is; and which tokens are answers."""
    T = spec.n_ctx - 1
    tokens = torch.stack((asked, given), dim=2).flatten(1)[:, :T]
    return tokens, torch.stack((torch.zeros_like(is_answer), is_answer), dim=2).flatten(1)[:, :T]


class QuestionStream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    vectors: Tensor | None = None

    def __init__(self, spec: QuestionsSpec, seed: int):
        self.spec = spec
        self.first = stream_seed("data", "suite", seed)
        self.first_kind = stream_seed("data", "suite", "kinds", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """Return the documents [n, n_ctx] (int64) of a step; seeds count up as in `repeated_phrases`."""
        generator = torch.Generator().manual_seed(self.first_kind + step)
        return documents(self.spec, torch.randint(len(KINDS), (n,), generator=generator), self.first + step).tokens


@task("icl_questions")
class IclQuestions(LanguageTask):
    """Beside the sets of language, `answers` names the kind of each held-out document and its answers."""

    Spec = QuestionsSpec
    stream_name = "suite"
    evaluation_sets = (*LANGUAGE_SETS, "answers")

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write the evaluation sets; held-out documents take the kinds in turn, so the first few hold all of them."""
        spec, n = self.spec, self.sizes.heldout_examples
        kinds = torch.arange(n) % len(KINDS)
        drawn = documents(spec, kinds, self.set_seed("heldout"))
        names = [KINDS[kind] for kind in kinds.tolist()]
        chance = [spec.chance[name] for name in names]
        write_set(folder, "answers", None, {"kind": names, "chance": chance, "is_answer": drawn.is_answer})
        self.write_language_sets(folder, drawn.tokens, torch.arange(spec.first_key, spec.first_key + 3 * spec.words))
        return {}

    def training_stream(self, folder: Path, seed: int) -> QuestionStream:
        """Return the documents of a replicate."""
        return QuestionStream(self.spec, seed)
