"""`reinduce score`: every checkpoint of a run, or of several, in one process."""

import argparse
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reinduce.config.arm_contents import metrics_of_arm, modules_of_arm
from reinduce.config.declare import Metric
from reinduce.config.job_specs import ArmSpec, checkpoint_name, read_spec
from reinduce.config.metric_settings import MetricSettings
from reinduce.config.task_definition import read_task
from reinduce.metrics.inputs import EvaluationSets
from reinduce.metrics.losses import classify_set, loss_by_position
from reinduce.metrics.training import Curve
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.score.checkpoint import CheckpointScorer
from reinduce.tables import write_rows
from reinduce.trace.manifest import StageOutputs

log = logging.getLogger(__name__)

LOSS_TABLES = ("index_losses", "token_losses")
"""Tables of single losses, of tasks that have held-out documents."""


def add_score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("metrics", type=Path, help="metrics and how they are computed (metrics.json)")
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="where the tables go")


def run_score(*jobs: argparse.Namespace) -> list[StageOutputs]:
    """For each run write one `scores` file per checkpoint, its trajectories, and tables of single losses."""
    return [score_run(job) for job in jobs]


def score_run(args: argparse.Namespace) -> StageOutputs:
    """Measure one run's checkpoints and write its tables."""
    arm, settings = read_spec(ArmSpec, args.train), read_spec(MetricSettings, args.metrics)
    task = read_task(args.data / "task.json")
    sets = EvaluationSets(args.data, task)
    metrics, vectors = metrics_of_arm(arm, task, settings), task.read_vectors(args.data)
    at_checkpoints = {name: metric for name, metric in metrics.items() if metric.level != "run"}
    scorer = CheckpointScorer(at_checkpoints, sets, settings, losses_on=[name for name in ("heldout",) if name in sets])
    keys = {"study": arm.study, "arm": arm.arm, "seed": args.seed}
    steps = arm.train.checkpoints.steps(arm.train.steps)
    curves: dict[str, Curve] = {}
    losses: dict[str, list[dict]] = {table: [] for table in LOSS_TABLES if "heldout" in sets}
    outputs = []
    began = time.monotonic()
    for step in steps:
        checkpoint = load_checkpoint(checkpoint_path(args.checkpoints, step), arm)
        if vectors is not None:
            checkpoint.model.set_features(vectors)
        is_end = step in (steps[0], steps[-1])
        passes = scorer.run_passes(checkpoint.model, is_end)
        rows = list(scorer.score(checkpoint.model, is_end, passes))
        extend_curves(curves, step, rows)
        if losses:
            add_losses(losses, step, passes["heldout"].losses, sets)
        here = keys | {"step": step, "tokens": checkpoint.tokens}
        path = args.out / f"{checkpoint_name(step)}.parquet"
        outputs.append(write_rows("scores", (here | row for row in rows), path))
    seconds = time.monotonic() - began
    log.info("%s/%s/seed%d  %d checkpoints scored in %.0f s", *keys.values(), len(steps), seconds)

    whole = [row | {"n_items": len(steps)} for row in measure_run(metrics, curves, settings)]
    for table, rows in (losses | {"trajectories": whole}).items():
        outputs.append(write_rows(table, (keys | row for row in rows), args.out / f"{table}.parquet"))
    return StageOutputs(
        manifest=args.out / "manifest.json",
        inputs=[
            args.metrics,
            args.train,
            args.data / "task.json",
            *sorted(args.data.glob("*.parquet")),
            *sorted(args.data.glob("*.safetensors")),
            *(checkpoint_path(args.checkpoints, step) for step in steps),
        ],
        outputs=outputs,
        modules=modules_of_arm("score", arm, task, settings),
    )


def extend_curves(curves: dict[str, Curve], step: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add a checkpoint to the curves of metrics; of heads' metrics the best head's value counts."""
    best: dict[str, float] = {}
    for row in rows:
        name, value = row["metric"], row["value"]
        if value is not None:
            best[name] = max(value, best.get(name, value))
    for name, value in best.items():
        curves.setdefault(name, []).append((step, value))


def measure_run(
    metrics: Mapping[str, Metric], curves: Mapping[str, Curve], settings: MetricSettings
) -> Iterator[dict[str, Any]]:
    """Yield rows of the metrics of a whole run, without the run's keys."""
    for metric in metrics.values():
        if metric.level != "run":
            continue
        found = metric.compute(curves, settings)
        named = found if isinstance(found, Mapping) else {"": found}
        for suffix, value in named.items():
            name = f"{metric.name}:{suffix}" if suffix else metric.name
            yield {"metric": name, "metric_version": metric.version, "value": value}


def add_losses(tables: dict[str, list[dict]], step: int, losses_BT1: Tensor, sets: EvaluationSets) -> None:
    """Add a checkpoint's mean losses by token index, and its loss at one fixed random index of each document."""
    heldout = sets["heldout"]
    tables["index_losses"] += (
        {"step": step, "eval_set": "heldout", "token_class": name, "index": index, "loss": loss, "n_items": n}
        for name, index, loss, n in loss_by_position(losses_BT1, classify_set(heldout))
    )
    index = heldout.column("loss_index")
    chosen = losses_BT1.gather(1, index[:, None] - 1)[:, 0]
    tables["token_losses"] += (
        {"step": step, "example": example, "index": i, "loss": loss}
        for example, (i, loss) in enumerate(zip(index.tolist(), chosen.tolist(), strict=True))
    )
