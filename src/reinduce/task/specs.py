"""What tasks and their frozen evaluation sets are described by, in plain dataclasses.

What a description means, and what draws from it, is in the task's own module. The two stand
apart so that a configuration is resolved without torch, which takes longer to import than
the rest takes altogether.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reinduce.config.specs import STRICT, require

if TYPE_CHECKING:
    import torch

EXEMPLAR_SOURCES = ("latent", "file")
TEXT_SOURCES = ("packages", "folder", "parquet")


def own_files(spec: Mapping) -> list[Path]:
    """The user's own text or vectors that a task is made from: a folder's files, or the one that is named, or none."""
    if not spec.get("path"):
        return []
    path = Path(spec["path"])
    if path.is_dir() and spec["source"] == "folder":
        return sorted(file for file in path.glob(spec["glob"]) if file.is_file())
    return [path]


@dataclass(frozen=True, kw_only=True)
class PhrasesSpec:
    """`phrases`: the distribution of documents."""

    __pydantic_config__ = STRICT

    vocabulary: int
    """Token ids, the start token (0) included."""
    context: int
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
        require(self.context > 1, f"context must be 2 or more, not {self.context}")
        require(self.phrases > 0, f"phrases must be positive, not {self.phrases}")
        require(0 <= self.phrase_share <= 1, f"phrase_share must lie between 0 and 1, not {self.phrase_share}")
        require(
            0 < self.successors < self.vocabulary,
            f"successors must lie between 1 and vocabulary - 1, not {self.successors}",
        )
        for name in ("phrase_length", "run_length"):
            low, high = getattr(self, name)
            require(1 <= low <= high, f"{name} must be a range from 1 on, not {low} to {high}")


@dataclass(frozen=True, kw_only=True)
class SynonymsSpec(PhrasesSpec):
    """`synonyms`: the distribution of documents; `vocabulary` counts words of both languages, and the start token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.successors <= self.meanings,
            f"successors is {self.successors}, but a vocabulary of {self.vocabulary} tokens has two words for only "
            f"{self.meanings} meanings; lower successors or raise vocabulary",
        )

    @property
    def meanings(self) -> int:
        """Meanings, numbered from 1: the words of m are the tokens m and m + meanings."""
        return (self.vocabulary - 1) // 2

    @property
    def of_meanings(self) -> PhrasesSpec:
        """The distribution of what is said, whatever the language."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(PhrasesSpec)}
        return PhrasesSpec(**shared | {"vocabulary": self.meanings + 1})


@dataclass(frozen=True, kw_only=True)
class TopicsSpec(PhrasesSpec):
    """`topics`: the distribution of documents."""

    tables: int = 8
    """Bigram tables; a document follows one, each equally likely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tables > 1, f"tables must be 2 or more, not {self.tables}")
        size = (self.vocabulary - 1) // self.tables
        require(
            self.successors <= size,
            f"successors is {self.successors}, but {self.tables} tables leave a class of {size} tokens to each; "
            "lower successors or tables",
        )


@dataclass(frozen=True, kw_only=True)
class SuiteSpec:
    """`suite`: the distribution of documents."""

    __pydantic_config__ = STRICT

    vocabulary: int
    """Token ids, the start token (0) included: labels, then keys, their synonyms and values in equal parts."""
    context: int
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
        require(self.context > 2, f"context must be 3 or more, not {self.context}")
        require(self.rules > 1, f"rules must be 2 or more, not {self.rules}")
        require(self.labels > 1, f"labels must be 2 or more, not {self.labels}")
        require(0 <= self.majority <= 1, f"majority must lie between 0 and 1, not {self.majority}")
        low, high = self.list_length
        require(1 <= low <= high, f"list_length must be a range from 1 on, not {low} to {high}")
        pairs = -(-(self.context - 1) // 2)
        # Half a `synonym` document's pairs have keys of their own, all of a `mapping` document's.
        needed = max(-(-pairs // 2), self.rules, self.keys, -(-high // 3))
        require(self.keys > 0, f"keys must be positive, not {self.keys}")
        require(
            self.words >= needed,
            f"vocabulary is {self.vocabulary}, which leaves {self.words} tokens each for keys, synonyms and values; "
            f"{needed} are needed: raise vocabulary to {3 * needed + self.labels + 1}, or lower context, keys, rules "
            "or list_length",
        )

    @property
    def words(self) -> int:
        """Tokens each for keys, synonyms and values."""
        return (self.vocabulary - 1 - self.labels) // 3

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


@dataclass(frozen=True, kw_only=True)
class ExemplarsSpec:
    """`exemplars`: the distribution of sequences."""

    __pydantic_config__ = STRICT

    vocabulary: int = 5
    """Labels."""
    context: int = 5
    """Tokens that a model reads: two pairs and the query."""
    classes: int = 50
    """Classes that training sequences show."""
    new_classes: int = 100
    """Classes that no training sequence shows."""
    exemplars: int = 1
    """Exemplars of each class."""
    held_out_labels: float = 0.2
    """Share of the pairs of labels that no training sequence shows."""
    features: int = 512
    """Width of an exemplar's vector."""
    source: str = "latent"
    """latent (a fixed random network of a low-dimensional vector), file (the user's own features)."""
    latent: int = 32
    """Dimensions of the latent vector."""
    spread: float = 0.3
    """latent: how far a class's exemplars lie from each other, over how far classes do."""
    path: str = ""
    """file: HDF5 or Parquet with a vector for every class and exemplar."""

    def __post_init__(self) -> None:
        require(self.context == 5, f"context must be 5, two pairs and a query, not {self.context}")
        require(self.vocabulary > 2, f"vocabulary must be 3 labels or more, not {self.vocabulary}")
        for name in ("classes", "new_classes"):
            require(getattr(self, name) > 1, f"{name} must be 2 or more, not {getattr(self, name)}")
        for name in ("exemplars", "features", "latent"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(self.spread >= 0, f"spread must be 0 or more, not {self.spread}")
        require(0 < self.held_out_labels < 1, f"held_out_labels must lie between 0 and 1, not {self.held_out_labels}")
        require(
            self.source in EXEMPLAR_SOURCES,
            f"source must be one of {', '.join(EXEMPLAR_SOURCES)}, not {self.source!r}",
        )
        require((self.source == "file") == bool(self.path), "path belongs to source: file, and to no other")
        # So many labels lose all of their pairs on average. Up to a half, some of the hundred splits that are
        # tried spares every label, sure enough; beyond, it is worth torch's import to try them here already.
        others = self.vocabulary - 1
        lost = self.vocabulary * math.comb(self.held_out_pairs, others) / math.comb(self.pairs, others)
        if lost > 0.5:
            from reinduce.task.exemplars import label_pairs

            label_pairs(self)

    @property
    def pairs(self) -> int:
        """Unordered pairs of labels."""
        return math.comb(self.vocabulary, 2)

    @property
    def held_out_pairs(self) -> int:
        """Those of them that no training sequence shows."""
        return max(1, round(self.held_out_labels * self.pairs))


@dataclass(frozen=True, kw_only=True)
class SourceTextSpec:
    """`source_text`: where the text comes from and how it becomes tokens."""

    __pydantic_config__ = STRICT

    context: int
    """Tokens in a sequence, the start token included."""
    vocabulary: int = 512
    """Token ids: the start token (0), the 256 bytes, and merges of them learned from the text."""
    source: str = "packages"
    """packages (Python files of installed packages), folder (of text files), or parquet (a column of texts)."""
    packages: tuple[str, ...] = ("sympy", "pandas", "networkx", "Pygments", "mpmath", "docutils")
    """Names of the installed distributions whose Python files are the text; for source: packages."""
    path: str = ""
    """The folder or the Parquet file, from where the command runs; for source: folder or parquet."""
    glob: str = "**/*.txt"
    """Which files of the folder; for source: folder."""
    column: str = "text"
    """Which column holds the texts, one a row; for source: parquet."""
    heldout_share: float = 0.05
    """Share of the files (or rows) kept out of training, for evaluation."""
    tokenizer_bytes: int = 10_000_000
    """Bytes of training text from which the merges are learned."""
    excluded_share: float = 0.05
    """Share of the ids, at either end of the ranking by frequency, kept out of random-token sequences."""

    def __post_init__(self) -> None:
        require(self.context > 1, f"context must be 2 or more, not {self.context}")
        require(
            self.vocabulary >= 257,
            f"vocabulary must be 257 or more (the start token and 256 bytes), not {self.vocabulary}",
        )
        require(self.source in TEXT_SOURCES, f"source must be one of {', '.join(TEXT_SOURCES)}, not {self.source!r}")
        if self.source == "packages":
            require(bool(self.packages), "packages needs at least one name, such as sympy")
        else:
            require(bool(self.path), f"path must say where the {self.source} is")
        require(
            self.glob != "" and not self.glob.startswith("/"),
            f"glob must be a pattern below the folder, such as '**/*.txt', not {self.glob!r}",
        )
        require(0 < self.heldout_share < 1, f"heldout_share must lie between 0 and 1, not {self.heldout_share}")
        require(self.tokenizer_bytes > 0, f"tokenizer_bytes must be positive, not {self.tokenizer_bytes}")
        require(
            0 <= self.excluded_share < 0.5,
            f"excluded_share must be 0 or more and below 0.5, not {self.excluded_share}",
        )

    @property
    def dtype(self) -> "torch.dtype":
        """The type of token ids on disk: the smallest that holds the vocabulary."""
        import torch

        return torch.uint16 if self.vocabulary <= 1 << 16 else torch.int32


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """How large the frozen evaluation sets of a task of language are."""

    __pydantic_config__ = STRICT

    heldout_examples: int
    """Held-out sequences on which losses are measured."""
    repeated_examples: int = 10
    """Sequences of repeated random tokens on which prefix matching is measured."""
    random_examples: int = 10
    """Sequences of random tokens, not repeated, on which copying is measured."""
    repeat_length: int = 25
    """Distinct random tokens in a repeat."""
    repeats: int = 4
    """How often they come in a row."""

    def __post_init__(self) -> None:
        for name in ("heldout_examples", "repeated_examples", "random_examples", "repeat_length"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(self.repeats > 1, f"repeats must be 2 or more, not {self.repeats}")

    def check(self, vocabulary: int, context: int) -> None:
        """Raise ValueError if a task's sequences cannot hold the repeats."""
        length, repeats = self.repeat_length, self.repeats
        require(
            length * repeats + 1 <= context,
            f"evaluation: a start token and {repeats} repeats of {length} tokens make {length * repeats + 1}, "
            f"more than the context of {context}; lower repeat_length or repeats",
        )
        require(
            length < vocabulary,
            f"evaluation: repeat_length is {length}, but a vocabulary of {vocabulary} "
            f"has only {vocabulary - 1} distinct tokens beside the start token",
        )


@dataclass(frozen=True, kw_only=True)
class ExemplarsEvaluation:
    """How large the frozen evaluation sets of `exemplars` are."""

    __pydantic_config__ = STRICT

    sequences: int
    """Sequences like those of training, on which curves and heads are measured."""
    held_out: int
    """Sequences with held-out pairs of labels, and as many with held-out classes."""

    def __post_init__(self) -> None:
        for name in ("sequences", "held_out"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")

    def size(self, kind: str) -> int:
        """Sequences of a kind in `exemplars.SETS`."""
        return self.sequences if kind == "trained" else self.held_out

    def check(self, vocabulary: int, context: int) -> None:
        """Any number of sequences can be drawn."""
