"""The `bigram_mixture` task: documents with two things to learn from their context, one by copying, one not.

Documents are those of `repeated_phrases`, but each follows one of several bigram tables, and nothing
names it. Private phrases can be predicted by copying; runs by finding out the document's table, which
no copying of a token does: after a bigram that the document has not shown yet, only the table
determines which tokens may come. All successors in one table belong to one class of tokens, so that
the tokens of any run are evidence for the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import require, stream_seed
from reinduce.tasks import repeated_phrases
from reinduce.tasks.evaluation_sets import write_set
from reinduce.tasks.language import LANGUAGE_SETS, LanguageTask
from reinduce.tasks.repeated_phrases import PhrasesSpec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MixtureSpec(PhrasesSpec):
    """`bigram_mixture`: the distribution of documents."""

    tables: int = 8
    """Bigram tables; a document follows one, each equally likely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tables > 1, f"tables must be 2 or more, not {self.tables}")
        size = (self.vocab_size - 1) // self.tables
        require(
            self.successors <= size,
            f"successors is {self.successors}, but {self.tables} tables leave a class of {size} tokens to each; "
            "lower successors or tables",
        )


def successor_tables(spec: MixtureSpec) -> Tensor:
    """All bigram tables [tables, vocab_size, successors]; table k draws from the k-th class of tokens."""
    names = (spec.vocab_size, spec.successors, spec.tables)
    generator = torch.Generator().manual_seed(stream_seed("topics", "tables", *names))
    size = (spec.vocab_size - 1) // spec.tables
    classes = (torch.randperm(spec.vocab_size - 1, generator=generator) + 1)[: size * spec.tables].view(spec.tables, -1)
    order = torch.rand(spec.tables, spec.vocab_size, size, generator=generator).argsort(dim=2)
    return classes[:, None, :].expand(order.shape).gather(2, order)[..., : spec.successors].contiguous()


def tables_of(spec: MixtureSpec, n: int, seed: int) -> Tensor:
    """Which table each of `n` documents follows [n]."""
    return torch.randint(spec.tables, (n,), generator=torch.Generator().manual_seed(seed))


class MixtureStream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    vectors: Tensor | None = None

    def __init__(self, spec: MixtureSpec, seed: int):
        self.spec = spec
        self.tables = successor_tables(spec)
        self.first = stream_seed("data", "topics", seed)
        self.first_table = stream_seed("data", "topics", "which", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """Return the documents [n, n_ctx] (int64) of a step; seeds count up as in `repeated_phrases`."""
        which = tables_of(self.spec, n, self.first_table + step)
        return repeated_phrases.documents(self.spec, self.tables[which], n, self.first + step)


@task("bigram_mixture")
class BigramMixture(LanguageTask):
    """Beside the sets of language, `contexts` holds each held-out document's table, segments and donors."""

    Spec = MixtureSpec
    stream_name = "topics"
    evaluation_sets = (*LANGUAGE_SETS, "contexts")

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write the evaluation sets."""
        spec, n = self.spec, self.sizes.heldout_examples
        tables = successor_tables(spec)
        which = tables_of(spec, n, self.set_seed("which"))
        documents = repeated_phrases.annotated(spec, tables[which], n, self.set_seed("heldout"))
        # A donor of another table: any but the document's own.
        shift = torch.randint(1, spec.tables, (n,), generator=torch.Generator().manual_seed(self.set_seed("shift")))
        donors = {"same_table": tables[which], "other_table": tables[(which + shift) % spec.tables]}
        columns = {"table": which, "is_phrase": documents.is_phrase, "offset": documents.offset}
        columns |= {
            name: repeated_phrases.documents(spec, table, n, self.set_seed(name)) for name, table in donors.items()
        }
        write_set(folder, "contexts", None, columns)
        self.write_language_sets(folder, documents.tokens, torch.arange(1, spec.vocab_size))
        return {}

    def training_stream(self, folder: Path, seed: int) -> MixtureStream:
        """Return the documents of a replicate."""
        return MixtureStream(self.spec, seed)
