"""The `synonyms` task: the documents of `phrases`, each segment in one of two languages.

Every meaning has two words, one in each language. A segment, phrase or run, is said in one
language throughout, drawn for each segment anew: the two words of a meaning never stand
side by side, play the same role, and have nothing in common but that. A phrase that comes
back in the other language shares no token with its earlier occurrence, so that copying
tokens does not continue it; matching and copying meanings does.
"""

from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import stream_seed
from reinduce.task import phrases
from reinduce.task.specs import SynonymsSpec

Spec = SynonymsSpec


def documents(spec: SynonymsSpec, n: int, seed: int, language_seed: int) -> Tensor:
    """`n` documents [n, context] of int64 token ids; one seed decides what is said, the other in which language."""
    said = phrases.annotated(spec.of_meanings, phrases.successor_table(spec.of_meanings), n, seed)
    generator = torch.Generator().manual_seed(language_seed)
    language = torch.randint(2, (n, spec.context), generator=generator)
    segment = (said.offset == 0).cumsum(dim=1) - 1
    # The start token belongs to no language.
    second = language.gather(1, segment) * (said.tokens > 0)
    return said.tokens + second * spec.meanings


class Stream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    def __init__(self, spec: SynonymsSpec, data_dir: str | Path, seed: int):
        """`data_dir` is not read: all tasks' streams are made alike, but nothing here lies on disk."""
        self.spec = spec
        self.first = stream_seed("data", "synonyms", seed)
        self.first_language = stream_seed("data", "synonyms", "language", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """The documents [n, context] (int64) of a step; seeds count up as in `phrases`."""
        return documents(self.spec, n, self.first + step, self.first_language + step)
