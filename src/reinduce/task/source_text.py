"""The `source_text` task: windows of real text.

The training text is one file of token ids, `train.bin`, cut into windows that do not
overlap. A replicate reads all of them in an order of its own before it reads any again.
"""

from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.specs import require, stream_seed
from reinduce.task.specs import SourceTextSpec

TRAIN_FILE = "train.bin"

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
