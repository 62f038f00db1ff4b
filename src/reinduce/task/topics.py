"""The `topics` task: documents with two things to learn from their context, one by copying, one not.

Documents are those of `phrases`, but each follows one of several bigram tables, and says
nowhere which. Private phrases can be predicted by copying; runs by finding out the
document's table, which no copying of a token does: after a bigram that the document has
not shown yet, only the table tells which tokens may come. All successors in one table
belong to one class of tokens, so that the tokens of any run speak for the table.
"""

from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import stream_seed
from reinduce.task import phrases
from reinduce.task.specs import TopicsSpec

Spec = TopicsSpec


def successor_tables(spec: TopicsSpec) -> Tensor:
    """All bigram tables [tables, vocabulary, successors]; table k draws from the k-th class of tokens."""
    names = (spec.vocabulary, spec.successors, spec.tables)
    generator = torch.Generator().manual_seed(stream_seed("topics", "tables", *names))
    size = (spec.vocabulary - 1) // spec.tables
    classes = (torch.randperm(spec.vocabulary - 1, generator=generator) + 1)[: size * spec.tables].view(spec.tables, -1)
    order = torch.rand(spec.tables, spec.vocabulary, size, generator=generator).argsort(dim=2)
    return classes[:, None, :].expand(order.shape).gather(2, order)[..., : spec.successors].contiguous()


def tables_of(spec: TopicsSpec, n: int, seed: int) -> Tensor:
    """Which table each of `n` documents follows [n]."""
    return torch.randint(spec.tables, (n,), generator=torch.Generator().manual_seed(seed))


class Stream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    def __init__(self, spec: TopicsSpec, data_dir: str | Path, seed: int):
        """`data_dir` is not read: all tasks' streams are made alike, but nothing here lies on disk."""
        self.spec = spec
        self.tables = successor_tables(spec)
        self.first = stream_seed("data", "topics", seed)
        self.first_table = stream_seed("data", "topics", "which", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """The documents [n, context] (int64) of a step; seeds count up as in `phrases`."""
        which = tables_of(self.spec, n, self.first_table + step)
        return phrases.documents(self.spec, self.tables[which], n, self.first + step)
