"""The `suite` task's files: its frozen evaluation sets, and which tokens are answers."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from reinduce.data.frozen import set_seed, write_frozen_sets
from reinduce.task import Task
from reinduce.task.suite import KINDS, documents
from reinduce.trace.files import written_aside


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write the frozen sets and answers.parquet; training documents are drawn while training; no further facts.

    Held-out documents take the kinds in turn, so that the first few hold all of them.
    """
    spec, n = task.spec, task.evaluation.heldout_examples
    kinds = torch.arange(n) % len(KINDS)
    made = documents(spec, kinds, set_seed(task, "heldout"))
    path = folder / "answers.parquet"
    columns = {
        "example": pa.array(range(n), type=pa.int32()),
        "kind": pa.array([KINDS[kind] for kind in kinds.tolist()]),
        "chance": pa.array([spec.chance[KINDS[kind]] for kind in kinds.tolist()], type=pa.float64()),
        "is_answer": pa.array(made.is_answer.tolist(), type=pa.list_(pa.bool_())),
    }
    with written_aside(path) as aside:
        pq.write_table(pa.table(columns), aside, compression="zstd")
    words = torch.arange(spec.first_key, spec.first_key + 3 * spec.words)
    return [*write_frozen_sets(task, made.tokens, words, folder), path], {}
