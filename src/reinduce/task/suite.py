"""The `suite` task: every document is one of five small tasks that its context explains.

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

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import stream_seed
from reinduce.task.evaluation import copyable
from reinduce.task.specs import SuiteSpec

KINDS = ("repeat", "recall", "synonym", "mapping", "majority")
SHOWN_LABELS = 8
"""Labels shown before one counts as an answer."""

Spec = SuiteSpec


@dataclass(frozen=True)
class Documents:
    """Documents, and which of their tokens answer [n, context] each."""

    tokens: Tensor
    """Token ids, int64."""
    is_answer: Tensor
    """Whether the token is one that the context before it decides, bool."""


def rules(spec: SuiteSpec) -> Tensor:
    """The value of every key and synonym under every rule [rules, 2 * words]: each rule has values of its own."""
    names = (spec.vocabulary, spec.labels, spec.rules)
    generator = torch.Generator().manual_seed(stream_seed("suite", "rules", *names))
    size = spec.words // spec.rules
    return spec.first_value + torch.stack(
        [rule * size + torch.randint(size, (2 * spec.words,), generator=generator) for rule in range(spec.rules)]
    )


def documents(spec: SuiteSpec, kinds: Tensor, seed: int) -> Documents:
    """One document of each kind that `kinds` [n] numbers, in KINDS' order; the seed decides them entirely."""
    generator = torch.Generator().manual_seed(seed)
    T = spec.context - 1
    body = torch.empty(len(kinds), T, dtype=torch.int64)
    is_answer = torch.zeros(len(kinds), T, dtype=torch.bool)
    for number, name in enumerate(KINDS):
        chosen = kinds == number
        if not chosen.any():
            continue
        body[chosen], is_answer[chosen] = MAKERS[name](spec, int(chosen.sum()), generator)
    start = torch.zeros(len(kinds), 1, dtype=torch.int64)
    return Documents(torch.cat((start, body), dim=1), torch.cat((start.bool(), is_answer), dim=1))


def _repeat(spec: SuiteSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    low, high = spec.list_length
    T = spec.context - 1
    words = spec.first_key + _distinct(3 * spec.words, n, generator)[:, :high]
    length = torch.randint(low, high + 1, (n, 1), generator=generator)
    tokens = words.gather(1, torch.arange(T).expand(n, T) % length)
    return tokens, copyable(torch.nn.functional.pad(tokens, (1, 0)))[:, 1:]


def _recall(spec: SuiteSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.context - 1) // 2)
    keys = spec.first_key + _distinct(spec.words, n, generator)[:, : spec.keys]
    values = spec.first_value + torch.randint(spec.words, (n, spec.keys), generator=generator)
    which = torch.randint(spec.keys, (n, pairs), generator=generator)
    before = (which[:, :, None] == which[:, None, :]).tril(-1).any(dim=2)
    return _interleaved(spec, keys.gather(1, which), values.gather(1, which), before)


def _synonym(spec: SuiteSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.context - 1) // 2)
    shown = -(-pairs // 2)
    keys = spec.first_key + _distinct(spec.words, n, generator)[:, :shown]
    values = spec.first_value + torch.randint(spec.words, (n, shown), generator=generator)
    order = _distinct(shown, n, generator)[:, : pairs - shown]
    asked = keys.gather(1, order) + spec.words
    is_answer = (torch.arange(pairs) >= shown).expand(n, pairs)
    return _interleaved(
        spec, torch.cat((keys, asked), dim=1), torch.cat((values, values.gather(1, order)), dim=1), is_answer
    )


def _mapping(spec: SuiteSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.context - 1) // 2)
    keys = _distinct(2 * spec.words, n, generator)[:, :pairs]
    rule = torch.randint(spec.rules, (n, 1), generator=generator)
    values = rules(spec)[rule, keys]
    return _interleaved(spec, spec.first_key + keys, values, (torch.arange(pairs) > 0).expand(n, pairs))


def _majority(spec: SuiteSpec, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pairs = -(-(spec.context - 1) // 2)
    words = spec.first_key + torch.randint(2 * spec.words, (n, pairs), generator=generator)
    most = torch.randint(spec.labels, (n, 1), generator=generator)
    other = (most + torch.randint(1, spec.labels, (n, pairs), generator=generator)) % spec.labels
    agrees = torch.rand(n, pairs, generator=generator) < spec.majority
    is_answer = (torch.arange(pairs) >= SHOWN_LABELS).expand(n, pairs)
    return _interleaved(spec, words, 1 + torch.where(agrees, most, other), is_answer)


MAKERS = dict(zip(KINDS, (_repeat, _recall, _synonym, _mapping, _majority), strict=True))


def _distinct(below: int, n: int, generator: torch.Generator) -> Tensor:
    """`n` orders of the numbers below a bound [n, below]."""
    return torch.rand(n, below, generator=generator).argsort(dim=1, stable=True)


def _interleaved(spec: SuiteSpec, asked: Tensor, given: Tensor, is_answer: Tensor) -> tuple[Tensor, Tensor]:
    """Questions and what follows them in turn, as long as the document is; and which tokens are answers."""
    T = spec.context - 1
    tokens = torch.stack((asked, given), dim=2).flatten(1)[:, :T]
    return tokens, torch.stack((torch.zeros_like(is_answer), is_answer), dim=2).flatten(1)[:, :T]


class Stream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    def __init__(self, spec: SuiteSpec, data_dir: str | Path, seed: int):
        """`data_dir` is not read: all tasks' streams are made alike, but nothing here lies on disk."""
        self.spec = spec
        self.first = stream_seed("data", "suite", seed)
        self.first_kind = stream_seed("data", "suite", "kinds", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """The documents [n, context] (int64) of a step; seeds count up as in `phrases`."""
        generator = torch.Generator().manual_seed(self.first_kind + step)
        return documents(self.spec, torch.randint(len(KINDS), (n,), generator=generator), self.first + step).tokens
