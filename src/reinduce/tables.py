"""The tables that stages hand to each other: one declared schema each.

Every table is written sorted, with fixed types, and without anything volatile, so that
equal runs are equal files. A null in `value` means "not scored", in `layer` or `head`
"of the whole model" or "of the whole layer".
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reinduce.trace.files import atomic_write

RUN_KEYS = [("study", pa.string()), ("arm", pa.string()), ("seed", pa.int32())]
MEASURE = [("metric", pa.string()), ("metric_version", pa.int32())]
VALUE = [("value", pa.float64()), ("n_items", pa.int64())]

SCHEMAS = {
    # A trained seed. Seconds and other volatile facts stand in its manifest.
    "runs": RUN_KEYS
    + [
        ("task", pa.string()),
        ("config_digest", pa.string()),
        ("parameters", pa.int64()),
        ("steps", pa.int32()),
        ("tokens", pa.int64()),
        ("device", pa.string()),
    ],
    # A training step: the loss is the batch's mean in nats a token, before the step was taken.
    "train_log": RUN_KEYS
    + [
        ("step", pa.int32()),
        ("tokens", pa.int64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
    ],
    # Mean loss at a token index over the frozen held-out set; token_class: all, copyable, other.
    "index_losses": RUN_KEYS
    + [
        ("step", pa.int32()),
        ("eval_set", pa.string()),
        ("token_class", pa.string()),
        ("index", pa.int32()),
        ("loss", pa.float64()),
        ("n_items", pa.int64()),
    ],
    # Loss at one fixed random index of each held-out example.
    "token_losses": RUN_KEYS
    + [
        ("step", pa.int32()),
        ("example", pa.int32()),
        ("index", pa.int32()),
        ("loss", pa.float64()),
    ],
    # A metric of a head, a layer or the whole model at a checkpoint.
    "scores": RUN_KEYS
    + [("step", pa.int32()), ("tokens", pa.int64()), ("layer", pa.int32()), ("head", pa.int32())]
    + MEASURE
    + VALUE,
    # A metric of a whole training run, made from its checkpoints' scores.
    "trajectories": RUN_KEYS + MEASURE + VALUE,
    # A joint principal-component analysis of per-token losses: one point a checkpoint.
    "loss_components": RUN_KEYS + [("step", pa.int32()), ("component", pa.int32())] + [("value", pa.float64())],
    # What an edit does: `value` is the metric with the edit, `baseline` without it.
    # `chosen` says why these heads: single, pair, induction, previous_token, random; of exemplars also
    # all_but, strongest, layer, others, wire (see ablate.exemplars).
    "ablations": RUN_KEYS
    + [
        ("step", pa.int32()),
        ("intervention", pa.string()),
        ("downstream", pa.string()),
        ("selection", pa.string()),
        ("replicate", pa.int32()),
        ("k", pa.int32()),
        ("source_head", pa.int32()),
        ("heads", pa.string()),
        ("layer", pa.int32()),
        ("head", pa.int32()),
    ]
    + MEASURE
    + [("value", pa.float64()), ("baseline", pa.float64()), ("n_items", pa.int64())],
    # A head's direct effect on a target.
    "attributions": RUN_KEYS
    + [
        ("step", pa.int32()),
        ("source", pa.string()),
        ("layer", pa.int32()),
        ("head", pa.int32()),
        ("target", pa.string()),
    ]
    + MEASURE
    + VALUE,
    # A claim and its verdict.
    "ledger": [
        ("study", pa.string()),
        ("claim", pa.string()),
        ("statement", pa.string()),
        ("verdict", pa.string()),
        ("estimate", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_seeds", pa.int32()),
        ("criterion", pa.string()),
        ("control_verdict", pa.string()),
        ("scale", pa.string()),
        ("figure", pa.string()),
        ("claim_number", pa.string()),
        ("reason", pa.string()),
        ("source", pa.string()),
        ("paper_value", pa.string()),
        ("unit", pa.string()),
        ("p_value", pa.float64()),
        ("p_holm", pa.float64()),
        ("control", pa.string()),
        ("control_estimate", pa.float64()),
    ],
}


def schema(table: str) -> pa.Schema:
    """The declared schema of a table."""
    return pa.schema(SCHEMAS[table])


def write_rows(table: str, rows: Iterable[Mapping], path: str | Path, keep_order: bool = False) -> Path:
    """Write rows as Parquet under the table's schema, sorted by every key column.

    Columns missing from a row are null. Raises ValueError for a column the table lacks.
    """
    with atomic_write(path) as aside:
        pq.write_table(_as_table(table, rows, path, keep_order), aside, compression="zstd")
    return Path(path)


@contextlib.contextmanager
def rows_writer(table: str, path: str | Path) -> Iterator[Callable[[Iterable[Mapping]], None]]:
    """A function that adds rows to a Parquet file, sorted within each call, for what does not fit in memory.

    Call it in the order of the key columns; the file is in place once the block ends well.
    """
    with atomic_write(path) as aside, pq.ParquetWriter(aside, schema(table), compression="zstd") as file:
        yield lambda rows: file.write_table(_as_table(table, rows, path))


def _as_table(table: str, rows: Iterable[Mapping], path: str | Path, keep_order: bool = False) -> pa.Table:
    declared = schema(table)
    rows = list(rows)
    unknown = {key for row in rows for key in row} - set(declared.names)
    if unknown:
        raise ValueError(f"{path}: table {table!r} has no column {', '.join(sorted(unknown))}")
    columns = {f.name: pa.array([row.get(f.name) for row in rows], type=f.type) for f in declared}
    made = pa.table(columns, schema=declared)
    measured = {"value", "baseline", "loss", "n_items", "gradient_norm", "learning_rate"}
    return made if keep_order else made.sort_by([(n, "ascending") for n in declared.names if n not in measured])


def read_table(table: str, paths: Iterable[str | Path], columns: list[str] | None = None) -> pa.Table:
    """All rows of one table's files, in the order given.

    Raises FileNotFoundError, or ValueError naming a file whose columns are not the declared ones.
    """
    declared = schema(table)
    parts = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(declared):
                raise ValueError(f"{path}: its columns are not those of table {table!r}; make it again")
            parts.append(file.read(columns=columns))
    if not parts:
        return declared.empty_table() if columns is None else declared.empty_table().select(columns)
    return pa.concat_tables(parts)
