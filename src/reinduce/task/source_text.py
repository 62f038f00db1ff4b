"""The `source_text` task: windows of real text.

The training text is one file of token ids, `train.bin`, cut into windows that do not
overlap. A replicate reads all of them in an order of its own before it reads any again.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import STRICT, require, stream_seed

SOURCES = ("packages", "folder", "parquet")
TRAIN_FILE = "train.bin"


@dataclass(frozen=True, kw_only=True)
class SourceTextSpec:
    """Where the text comes from and how it becomes tokens."""

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
        require(self.source in SOURCES, f"source must be one of {', '.join(SOURCES)}, not {self.source!r}")
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
    def dtype(self) -> torch.dtype:
        """The type of token ids on disk: the smallest that holds the vocabulary."""
        return torch.uint16 if self.vocabulary <= 1 << 16 else torch.int32


Spec = SourceTextSpec


def training_tokens(spec: SourceTextSpec, data_dir: str | Path) -> Tensor:
    """The training text's token ids [tokens] in the spec's dtype, mapped from disk rather than read.

    Raises FileNotFoundError if the data folder has none.
    """
    path = Path(data_dir) / TRAIN_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no training text; `reinduce data` makes it")
    tokens = path.stat().st_size // spec.dtype.itemsize
    return torch.from_file(str(path), shared=False, size=tokens, dtype=spec.dtype)


def windows(spec: SourceTextSpec, tokens: Tensor) -> Tensor:
    """Tokens [tokens] cut into consecutive windows [windows, context - 1]; a rest too short for one is left out."""
    width = spec.context - 1
    return tokens[: len(tokens) // width * width].view(-1, width)


def with_start(tokens_BT1: Tensor) -> Tensor:
    """Sequences with the start token put before them [B, T], int64."""
    return torch.nn.functional.pad(tokens_BT1.to(torch.int64), (1, 0), value=0)


class Stream:
    """A replicate's training sequences: every window once an epoch, in an order of its own."""

    def __init__(self, spec: SourceTextSpec, data_dir: str | Path, seed: int):
        self.seed = seed
        self.data_dir = data_dir
        self.windows = windows(spec, training_tokens(spec, data_dir))
        self.orders: dict[int, Tensor] = {}

    def batch(self, step: int, n: int) -> Tensor:
        """The tokens [n, context] (int64) of a step, all steps being of n sequences.

        Raises ValueError if the training text has fewer than n windows.
        """
        total = len(self.windows)
        require(
            n <= total,
            f"{self.data_dir}: the training text has {total} windows, fewer than a batch of {n}; "
            "give more text, or lower batch or context",
        )
        first = step * n
        epoch, place = divmod(first, total)
        rows = self.order(epoch)[place : place + n]
        if len(rows) < n:
            rows = torch.cat((rows, self.order(epoch + 1)[: n - len(rows)]))
        return with_start(self.windows[rows])

    def order(self, epoch: int) -> Tensor:
        """The order [windows] in which an epoch reads the windows; only the latest two are kept."""
        if epoch not in self.orders:
            generator = torch.Generator().manual_seed(stream_seed("data", "source_text", self.seed, epoch))
            self.orders = {e: order for e, order in self.orders.items() if e == epoch - 1}
            self.orders[epoch] = torch.randperm(len(self.windows), generator=generator)
        return self.orders[epoch]
