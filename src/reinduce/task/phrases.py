"""The `phrases` task: synthetic documents that repeat private phrases.

A document is a start token followed by segments. Each segment is, with probability
`phrase_share`, one of the document's own random phrases, else a run of a bigram table that
all documents share. Phrases can only be predicted by copying from the document's past,
runs only from the table: the two sources of information do not mix.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import stream_seed
from reinduce.task.specs import PhrasesSpec

Spec = PhrasesSpec


def successor_table(spec: PhrasesSpec) -> Tensor:
    """The shared bigram table [vocabulary, successors]: distinct successors, never the start token."""
    generator = torch.Generator().manual_seed(stream_seed("phrases", "table", spec.vocabulary, spec.successors))
    order = torch.rand(spec.vocabulary, spec.vocabulary - 1, generator=generator).argsort(dim=1)
    return order[:, : spec.successors] + 1


@dataclass(frozen=True)
class Documents:
    """Documents and where each of their tokens comes from [n, context] each."""

    tokens: Tensor
    """Token ids, int64."""
    is_phrase: Tensor
    """Whether the token stands in a private phrase, bool; else in a run, or it is the start token."""
    offset: Tensor
    """Place within its phrase or run, from 0 on; 0 for the start token."""


def documents(spec: PhrasesSpec, table: Tensor, n: int, seed: int) -> Tensor:
    """`n` documents [n, context] of int64 token ids; the seed decides them entirely.

    `table`: a bigram table [vocabulary, successors], or one for each document [n, vocabulary, successors].
    """
    return annotated(spec, table, n, seed).tokens


def annotated(spec: PhrasesSpec, table: Tensor, n: int, seed: int) -> Documents:
    """The very documents of `documents`, with what each token is."""
    generator = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    T = spec.context - 1
    longest = max(spec.phrase_length[1], spec.run_length[1])
    segments = -(-T // min(spec.phrase_length[0], spec.run_length[0]))

    private = integers(1, spec.vocabulary - 1, n, spec.phrases, longest)
    private_length = integers(*spec.phrase_length, n, spec.phrases)
    which = integers(0, spec.phrases - 1, n, segments)
    is_phrase = torch.rand(n, segments, generator=generator) < spec.phrase_share
    length = torch.where(is_phrase, private_length.gather(1, which), integers(*spec.run_length, n, segments))

    run = [integers(1, spec.vocabulary - 1, n, segments)]
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


class Stream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    def __init__(self, spec: PhrasesSpec, data_dir: str | Path, seed: int):
        """`data_dir` is not read: all tasks' streams are made alike, but nothing here lies on disk."""
        self.spec = spec
        self.table = successor_table(spec)
        self.first = stream_seed("data", "phrases", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """The documents [n, context] (int64) of a step."""
        # torch's CPU generator keeps 32 bits of its seed. Counting up from the replicate's
        # own number gives every step another seed; hashing the step would now and then
        # give two steps the same one, and with it the same documents.
        return documents(self.spec, self.table, n, self.first + step)
