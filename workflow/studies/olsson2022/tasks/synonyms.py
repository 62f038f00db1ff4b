"""The `synonyms` task: the documents of `repeated_phrases`, each segment in one of two languages.

Every meaning has two words, one in each language. A segment, phrase or run, is in one language
throughout, drawn for each segment anew: the two words of a meaning never stand side by side, play the
same role, and have nothing in common but that. A phrase that comes back in the other language shares
no token with its earlier occurrence, so that copying tokens does not continue it; matching and
copying meanings does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import require, stream_seed
from reinduce.tasks import repeated_phrases
from reinduce.tasks.evaluation_sets import write_set
from reinduce.tasks.language import LANGUAGE_SETS, LanguageTask, prepend_start, random_tokens
from reinduce.tasks.repeated_phrases import PhrasesSpec

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SynonymsSpec(PhrasesSpec):
    """`synonyms`: the distribution of documents; `vocab_size` counts words of both languages, and the start token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.successors <= self.meanings,
            f"successors is {self.successors}, but a vocabulary of {self.vocab_size} tokens has two words for only "
            f"{self.meanings} meanings; lower successors or raise vocab_size",
        )

    @property
    def meanings(self) -> int:
        """Meanings, numbered from 1: the words of m are the tokens m and m + meanings."""
        return (self.vocab_size - 1) // 2

    @property
    def of_meanings(self) -> PhrasesSpec:
        """The distribution of meanings, whatever the language."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(PhrasesSpec)}
        return PhrasesSpec(**shared | {"vocab_size": self.meanings + 1})


def documents(spec: SynonymsSpec, n: int, seed: int, language_seed: int) -> Tensor:
    """`n` documents [n, n_ctx] of int64 token ids; one seed decides the meanings, the other the languages."""
    meanings = repeated_phrases.annotated(spec.of_meanings, repeated_phrases.successor_table(spec.of_meanings), n, seed)
    generator = torch.Generator().manual_seed(language_seed)
    language = torch.randint(2, (n, spec.n_ctx), generator=generator)
    segment = (meanings.offset == 0).cumsum(dim=1) - 1
    # The start token belongs to no language.
    second = language.gather(1, segment) * (meanings.tokens > 0)
    return meanings.tokens + second * spec.meanings


class SynonymStream:
    """A replicate's training documents, drawn when they are asked for: none is seen twice."""

    vectors: Tensor | None = None

    def __init__(self, spec: SynonymsSpec, seed: int):
        self.spec = spec
        self.first = stream_seed("data", "synonyms", seed)
        self.first_language = stream_seed("data", "synonyms", "language", seed)

    def batch(self, step: int, n: int) -> Tensor:
        """Return the documents [n, n_ctx] (int64) of a step; seeds count up as in `repeated_phrases`."""
        return documents(self.spec, n, self.first + step, self.first_language + step)


@task("synonyms")
class Synonyms(LanguageTask):
    """Beside the sets of language, `translated` holds random words and their translations in the same order,
    `translated_shuffled` in another."""

    Spec = SynonymsSpec
    stream_name = "synonyms"
    evaluation_sets = (*LANGUAGE_SETS, "translated", "translated_shuffled")

    def set_sizes(self) -> dict[str, int]:
        """Return how many examples each set holds."""
        return super().set_sizes() | dict.fromkeys(self.evaluation_sets[-2:], self.sizes.repeated_examples)

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write the evaluation sets.

        Random tokens are words of the first language, so that an example has no two words of one meaning.
        The sets of translations hold a start token, random words, and the same in the other language.
        """
        spec, sizes = self.spec, self.sizes
        first_language = torch.arange(1, spec.meanings + 1)
        words = random_tokens(first_language, sizes.repeated_examples, sizes.repeat_length, self.set_seed("translated"))
        generator = torch.Generator().manual_seed(self.set_seed("shuffled"))
        order = torch.rand(words.shape, generator=generator).argsort(dim=1)
        other = words + spec.meanings
        write_set(folder, "translated", prepend_start(torch.cat((words, other), dim=1)))
        shuffled = torch.cat((words, other.gather(1, order)), dim=1)
        write_set(folder, "translated_shuffled", prepend_start(shuffled))
        seeds = self.set_seed("heldout"), self.set_seed("languages")
        self.write_language_sets(folder, documents(spec, sizes.heldout_examples, *seeds), first_language)
        return {}

    def training_stream(self, folder: Path, seed: int) -> SynonymStream:
        """Return the documents of a replicate."""
        return SynonymStream(self.spec, seed)
