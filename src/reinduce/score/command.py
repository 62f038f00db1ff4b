"""`reinduce score`: every checkpoint of a run, or of several, in one process."""

import argparse
import logging
import time
from pathlib import Path

from reinduce.config.specs import ArmSpec, MeasureSpec, checkpoint_name, read_spec
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.score.exemplars import Exemplars
from reinduce.score.language import Language
from reinduce.tables import write_rows
from reinduce.trace.manifest import Made

log = logging.getLogger(__name__)

TRAJECTORY_VERSION = 1


def add_score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("measure", type=Path, help="how to measure (measure.json)")
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="where the tables go")


def run_score(*jobs: argparse.Namespace) -> list[Made]:
    """For each run write one `scores` file per checkpoint, and its other tables.

    These are trajectories, and losses of language.
    """
    return [score_run(job) for job in jobs]


def score_run(args: argparse.Namespace) -> Made:
    """Measure one run's checkpoints and write its tables."""
    arm, spec = read_spec(ArmSpec, args.train), read_spec(MeasureSpec, args.measure)
    seed, checkpoints, out = args.seed, args.checkpoints, args.out
    run = (Exemplars if arm.model.features else Language)(args.data, arm, spec)
    keys = {"study": arm.study, "arm": arm.arm, "seed": seed}
    steps = arm.train.checkpoints.steps(arm.train.steps)
    outputs = []
    began = time.monotonic()
    for step in steps:
        checkpoint = load_checkpoint(checkpoint_path(checkpoints, step), arm)
        here = keys | {"step": step, "tokens": checkpoint.tokens}
        rows = [here | row for row in run.measure(step, checkpoint.model)]
        outputs.append(write_rows("scores", rows, out / f"{checkpoint_name(step)}.parquet"))
    log.info("%s/%s/seed%d  %d checkpoints scored in %.0f s", *keys.values(), len(steps), time.monotonic() - began)

    found = {"metric_version": TRAJECTORY_VERSION, "n": len(steps)}
    tables = run.tables | {
        "trajectories": [{"metric": metric, "value": value} | found for metric, value in run.trajectories().items()]
    }
    for table, rows in tables.items():
        outputs.append(write_rows(table, (keys | row for row in rows), out / f"{table}.parquet"))
    return Made(
        manifest=out / "manifest.json",
        inputs=[
            args.measure,
            args.train,
            args.data / "task.json",
            *sorted(args.data.glob("*.parquet")),
            *sorted(args.data.glob("features.safetensors")),
            *(checkpoint_path(checkpoints, step) for step in steps),
        ],
        outputs=outputs,
    )
