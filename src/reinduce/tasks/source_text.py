"""The `source_text` task: windows of real text.

The training text is one file of token ids, `train.bin`, cut into windows that do not
overlap. A replicate reads all of them in an order of its own before it reads any again.
"""

from __future__ import annotations

import logging
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reinduce.config.declare import task
from reinduce.config.job_specs import STRICT, require, stream_seed
from reinduce.tasks.language import LanguageTask, prepend_start
from reinduce.tasks.text_sources import digest, find_sources, split, write_sources
from reinduce.tasks.tokenizer import encode, learn_tokenizer
from reinduce.trace.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

TRAIN_FILE = "train.bin"
TEXT_SOURCES = ("packages", "folder", "parquet")
COUNT_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class SourceTextSpec:
    """`source_text`: where the text comes from and how it becomes tokens."""

    __pydantic_config__ = STRICT

    n_ctx: int
    """Tokens in a sequence, the start token included."""
    vocab_size: int = 512
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
        require(self.n_ctx > 1, f"n_ctx must be 2 or more, not {self.n_ctx}")
        require(
            self.vocab_size >= 257,
            f"vocab_size must be 257 or more (the start token and 256 bytes), not {self.vocab_size}",
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
    def dtype(self) -> torch.dtype:
        """The type of token ids on disk: the smallest that holds the vocabulary."""
        return torch.uint16 if self.vocab_size <= 1 << 16 else torch.int32


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
    """Tokens [tokens] cut into consecutive windows [windows, n_ctx - 1]; a rest too short for one is left out."""
    width = spec.n_ctx - 1
    return tokens[: len(tokens) // width * width].view(-1, width)


def heldout_windows(spec: SourceTextSpec, tokens: Tensor, examples: int) -> Tensor:
    """Windows [examples, n_ctx] that do not overlap, spread evenly over the held-out tokens.

    Raises ValueError if there are fewer.
    """
    cut = windows(spec, tokens)
    require(
        examples <= len(cut),
        f"too little text: the held-out part has {len(cut)} windows of {spec.n_ctx - 1} tokens, "
        f"evaluation.heldout_examples wants {examples}; give more text, raise heldout_share or lower heldout_examples",
    )
    return prepend_start(cut[torch.arange(examples) * len(cut) // examples])


def common_tokens(spec: SourceTextSpec, tokens: Tensor) -> Tensor:
    """The ids that occur in training, without the most and the least common of them (Olsson et al. 2022).

    Most byte-level vocabularies hold ids that no text uses: ranking only those that occur
    keeps them from using up the share of the least common.
    """
    counts = torch.zeros(spec.vocab_size, dtype=torch.int64)
    for part in tokens.split(COUNT_AT_ONCE):
        counts += torch.bincount(part.to(torch.int64), minlength=spec.vocab_size)
    ranked = counts.argsort(stable=True)[int((counts == 0).sum()) :]
    left_out = round(spec.excluded_share * len(ranked))
    return ranked[left_out : len(ranked) - left_out].sort().values


class WindowStream:
    """A replicate's training sequences: every window once an epoch, in an order of its own."""

    vectors: Tensor | None = None

    def __init__(self, spec: SourceTextSpec, data_dir: str | Path, seed: int):
        self.seed = seed
        self.data_dir = data_dir
        self.windows = windows(spec, training_tokens(spec, data_dir))
        self.orders: dict[int, Tensor] = {}

    def batch(self, step: int, n: int) -> Tensor:
        """The tokens [n, n_ctx] (int64) of a step, all steps being of n sequences.

        Raises ValueError if the training text has fewer than n windows.
        """
        total = len(self.windows)
        require(
            n <= total,
            f"{self.data_dir}: the training text has {total} windows, fewer than a batch of {n}; "
            "give more text, or lower batch_size or n_ctx",
        )
        first = step * n
        epoch, place = divmod(first, total)
        rows = self.order(epoch)[place : place + n]
        if len(rows) < n:
            rows = torch.cat((rows, self.order(epoch + 1)[: n - len(rows)]))
        return prepend_start(self.windows[rows])

    def order(self, epoch: int) -> Tensor:
        """The order [windows] in which an epoch reads the windows; only the latest two are kept."""
        if epoch not in self.orders:
            generator = torch.Generator().manual_seed(stream_seed("data", "source_text", self.seed, epoch))
            self.orders = {e: order for e, order in self.orders.items() if e == epoch - 1}
            self.orders[epoch] = torch.randperm(len(self.windows), generator=generator)
        return self.orders[epoch]


@task("source_text")
class SourceText(LanguageTask):
    """Text of installed packages, a folder or a Parquet column, as byte-level byte-pair tokens."""

    Spec = SourceTextSpec
    stream_name = "source_text"
    training_files = ("tokenizer.json", TRAIN_FILE)
    data_files = ("tokenizer.json", TRAIN_FILE, "sources.parquet")

    def user_files(self) -> list[Path]:
        """Return the user's own text: a folder's files, or the one file that is named."""
        if not self.spec.path:
            return []
        path = Path(self.spec.path)
        if path.is_dir() and self.spec.source == "folder":
            return sorted(file for file in path.glob(self.spec.glob) if file.is_file())
        return [path]

    def packages(self) -> list[str]:
        """Return the packages whose files are the text, and the one that cuts it."""
        return ["tokenizers", *self.spec.packages] if self.spec.source == "packages" else []

    def write_data(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer, training tokens, list of sources and evaluation sets; returns what the text is.

        Raises:
            FileNotFoundError or ValueError: if a source cannot be used or there is too little text.
        """
        spec, sources = self.spec, find_sources(self.spec)
        parts = split(sources, spec.heldout_share)
        log.info("source_text: %d texts, %.1f MB", len(sources), sum(source.size for source in sources) / 1e6)
        tokenizer = learn_tokenizer(parts["train"], spec.vocab_size, spec.tokenizer_bytes)

        typecode = {torch.uint16: "H", torch.int32: "i"}[spec.dtype]
        heldout = array(typecode)
        for ids in encode(tokenizer, parts["heldout"], typecode, "held-out"):
            heldout.extend(ids)
        tokens = torch.frombuffer(heldout, dtype=spec.dtype)
        heldout_BT = heldout_windows(spec, tokens, self.sizes.heldout_examples)

        with atomic_write(folder / "tokenizer.json") as aside:
            tokenizer.save(str(aside))
        with atomic_write(folder / TRAIN_FILE) as aside, aside.open("wb") as file:
            for ids in encode(tokenizer, parts["train"], typecode, "training"):
                ids.tofile(file)
        tokens = training_tokens(spec, folder)
        write_sources(parts, folder / "sources.parquet")
        self.write_language_sets(folder, heldout_BT, common_tokens(spec, tokens))
        return {
            "digest": digest(sources),
            "packages": {source.package: source.version for source in sources if source.package},
            "texts": {part: len(chosen) for part, chosen in parts.items()},
            "bytes": {part: sum(source.size for source in chosen) for part, chosen in parts.items()},
            "tokens": {"train": len(tokens), "heldout": len(heldout)},
        }

    def training_stream(self, folder: Path, seed: int) -> WindowStream:
        """Return the windows of a replicate.

        Raises:
            FileNotFoundError: if the data folder has no training text.
        """
        return WindowStream(self.spec, folder, seed)
