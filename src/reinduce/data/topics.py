"""The `topics` task's files: its frozen evaluation sets, and contexts to swap."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from reinduce.data.frozen import set_seed, write_frozen_sets
from reinduce.task import Task, phrases, topics
from reinduce.trace.files import written_aside


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write the frozen sets and contexts.parquet; training documents are drawn while training; no further facts."""
    spec, n = task.spec, task.evaluation.heldout_examples
    tables = topics.successor_tables(spec)
    which = topics.tables_of(spec, n, set_seed(task, "which"))
    documents = phrases.annotated(spec, tables[which], n, set_seed(task, "heldout"))
    # A donor of another table: any but the document's own.
    shift = torch.randint(1, spec.tables, (n,), generator=torch.Generator().manual_seed(set_seed(task, "shift")))
    donors = {
        "same_table": phrases.documents(spec, tables[which], n, set_seed(task, "same_table")),
        "other_table": phrases.documents(spec, tables[(which + shift) % spec.tables], n, set_seed(task, "other_table")),
    }
    path = folder / "contexts.parquet"
    columns = {
        "example": pa.array(range(n), type=pa.int32()),
        "table": pa.array(which.tolist(), type=pa.int32()),
        "is_phrase": pa.array(documents.is_phrase.tolist(), type=pa.list_(pa.bool_())),
        "offset": pa.array(documents.offset.tolist(), type=pa.list_(pa.int32())),
        **{name: pa.array(tokens.tolist(), type=pa.list_(pa.int32())) for name, tokens in donors.items()},
    }
    with written_aside(path) as aside:
        pq.write_table(pa.table(columns), aside, compression="zstd")
    files = write_frozen_sets(task, documents.tokens, torch.arange(1, spec.vocabulary), folder)
    return [*files, path], {}
