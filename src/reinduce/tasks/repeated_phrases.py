"""The `repeated_phrases` task: synthetic documents that repeat private phrases.

A document is a start token followed by segments. Each segment is, with probability
`phrase_share`, one of the document's own random phrases, else a run of a bigram table that
all documents share. Phrases can only be predicted by copying from the document's past,
runs only from the table: the two sources of information do not mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import STRICT, require, stream_seed
from reinduce.tasks.language import LanguageTask

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PhrasesSpec:
    """`repeated_phrases`: the distribution of documents."""

    __pydantic_config__ = STRICT

    vocab_size: int
    """Token ids, the start token (0) included."""
    n_ctx: int
    """Tokens in a document, the start token included."""
    phrases: int = 6
    """Private phrases of a document."""
    phrase_length: tuple[int, int] = (3, 6)
    """Shortest and longest phrase."""
    phrase_share: float = 0.6
    """Probability that a segment is a phrase."""
    run_length: tuple[int, int] = (2, 5)
    """Shortest and longest run of the shared bigram table."""
    successors: int = 8
    """Successors of each token in the table, equally likely."""

    def __post_init__(self) -> None:
        require(self.n_ctx > 1, f"n_ctx must be 2 or more, not {self.n_ctx}")
        require(self.phrases > 0, f"phrases must be positive, not {self.phrases}")
        require(0 <= self.phrase_share <= 1, f"phrase_share must lie between 0 and 1, not {self.phrase_share}")
        require(
            0 < self.successors < self.vocab_size,
            f"successors must lie between 1 and vocab_size - 1, not {self.successors}",
        )
        for name in ("phrase_length", "run_length"):
            low, high = getattr(self, name)
            require(1 <= low <= high, f"{name} must be a range from 1 on, not {low} to {high}")


def successor_table(spec: PhrasesSpec) -> Tensor:
    """The shared bigram table [vocab_size, successors]: distinct successors, never the start token."""
    generator = torch.Generator().manual_seed(stream_seed("phrases", "table", spec.vocab_size, spec.successors))
    order = torch.rand(spec.vocab_size, spec.vocab_size - 1, generator=generator).argsort(dim=1)
    return order[:, : spec.successors] + 1


@dataclass(frozen=True)
class Documents:
    """Documents and where each of their tokens comes from [n, n_ctx] each."""

    tokens: Tensor
    """Token ids, int64."""
    is_phrase: Tensor
    """Whether the token stands in a private phrase, bool; else in a run, or it is the start token."""
    offset: Tensor
    """Place within its phrase or run, from 0 on; 0 for the start token."""


def documents(spec: PhrasesSpec, table: Tensor, n: int, seed: int) -> Tensor:
    """`n` documents [n, n_ctx] of int64 token ids; the seed decides them entirely.

    `table`: a bigram table [vocab_size, successors], or one for each document [n, vocab_size, successors].
    """
    return annotated(spec, table, n, seed).tokens


def annotated(spec: PhrasesSpec, table: Tensor, n: int, seed: int) -> Documents:
    """The very documents of `documents`, with what each token is."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    T = spec.n_ctx - 1
    longest = max(spec.phrase_length[1], spec.run_length[1])
    segments = -(-T // min(spec.phrase_length[0], spec.run_length[0]))

    private = integers(1, spec.vocab_size - 1, n, spec.phrases, longest)
    private_length = integers(*spec.phrase_length, n, spec.phrases)
    which = integers(0, spec.phrases - 1, n, segments)
    is_phrase = torch.rand(n, segments, generator=generator) < spec.phrase_share
    length = torch.where(is_phrase, private_length.gather(1, which), integers(*spec.run_length, n, segments))

    run = [integers(1, spec.vocab_size - 1, n, segments)]
    choice = integers(0, spec.successors - 1, n, segments, longest)
    own = (torch.arange(n)[:, None],) if table.ndim == 3 else ()
    for i in range(1, longest):
        run.append(table[(*own, run[-1], choice[..., i])])
    copied = private.gather(1, which[..., None].expand(-1, -1, longest))
    content = torch.where(is_phrase[..., None], copied, torch.stack(run, dim=-1))

    # A token's segment is the number of segments that ended at or before it.
    ends = length.cumsum(dim=1)
    position = torch.arange(T).expand(n, T).contiguous()
    segment = torch.searchsorted(ends, position, right=True)
    offset = position - (ends - length).gather(1, segment)
    body = content.flatten(1).gather(1, segment * longest + offset)
    start = torch.zeros(n, 1, dtype=torch.int64)
    parts = (body, is_phrase.gather(1, segment), offset)
    return Documents(*(torch.cat((start.to(part.dtype), part), dim=1) for part in parts))


class PhraseStream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    vectors: Tensor | None = None

    def __init__(self, spec: PhrasesSpec, seed: int):
        self.spec = spec
        self.table = successor_table(spec)
        self.first = stream_seed("data", "phrases", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """Return the documents [n, n_ctx] (int64) of a step."""
        # torch's CPU generator keeps 32 bits of its seed. Counting up from the replicate's
        # own number gives every step another seed; hashing the step would now and then
        # give two steps the same one, and with it the same documents.
        return documents(self.spec, self.table, n, self.first + step)


@task("repeated_phrases")
class RepeatedPhrases(LanguageTask):
    """Documents are drawn while training, so only the evaluation sets are written."""

    Spec = PhrasesSpec
    stream_name = "phrases"

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write the evaluation sets. Random tokens may be any but the start token: all are equally common."""
        n = self.sizes.heldout_examples
        heldout_BT = documents(self.spec, successor_table(self.spec), n, self.set_seed("heldout"))
        self.write_language_sets(folder, heldout_BT, torch.arange(1, self.spec.vocab_size))
        return {}

    def training_stream(self, folder: Path, seed: int) -> PhraseStream:
        """Return the documents of a replicate."""
        return PhraseStream(self.spec, seed)
