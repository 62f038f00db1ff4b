"""The frozen evaluation sets of a task, as files."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reinduce.config.specs import require, stream_seed
from reinduce.task import Task
from reinduce.task.source_text import with_start
from reinduce.trace.files import written_aside


def write_frozen_sets(task: Task, heldout_BT: Tensor, pool: Tensor, folder: Path) -> list[Path]:
    """Write heldout.parquet, repeated.parquet and random.parquet.

    `heldout_BT` are the held-out sequences, `pool` [ids] the token ids from which random
    tokens are drawn. Raises ValueError if the pool is too small for a sequence without
    repetition.
    """
    sizes = task.evaluation
    repeated = random_tokens(pool, sizes.repeated_examples, sizes.repeat_length, set_seed(task, "repeated"))
    random = random_tokens(pool, sizes.random_examples, sizes.repeat_length, set_seed(task, "random"))
    # Any token but the first, which nothing predicts.
    generator = torch.Generator().manual_seed(set_seed(task, "loss_index"))
    loss_index = torch.randint(1, task.spec.context, (len(heldout_BT),), generator=generator)
    return [
        write_examples(folder / "heldout.parquet", heldout_BT, [("loss_index", loss_index)]),
        write_examples(folder / "repeated.parquet", with_start(repeated.repeat(1, sizes.repeats))),
        write_examples(folder / "random.parquet", with_start(random)),
    ]


def set_seed(task: Task, name: str) -> int:
    """The seed of an evaluation set; no training stream has one that begins with 'evaluation'."""
    return stream_seed("evaluation", task.name, name)


def random_tokens(pool: Tensor, examples: int, length: int, seed: int) -> Tensor:
    """Token ids from the pool [examples, length], none twice in an example."""
    require(
        length <= len(pool),
        f"evaluation: repeat_length is {length}, but only {len(pool)} tokens are neither the start token, "
        "nor among the most or least common; lower repeat_length or give more text",
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(examples, len(pool), generator=generator).argsort(dim=1, stable=True)
    return pool[order[:, :length]]


def write_examples(path: Path, tokens_BT: Tensor, more: Sequence[tuple[str, Tensor]] = ()) -> Path:
    """Write examples, one a row; `more`: further columns, of a number or a list of numbers each."""
    columns = {"example": pa.array(range(len(tokens_BT)), type=pa.int32())}
    for name, values in [("tokens", tokens_BT), *more]:
        columns[name] = pa.array(values.tolist(), type=pa.int32() if values.ndim == 1 else pa.list_(pa.int32()))
    with written_aside(path) as aside:
        pq.write_table(pa.table(columns), aside, compression="zstd")
    return path
