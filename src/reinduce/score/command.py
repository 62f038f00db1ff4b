"""`reinduce score`: every checkpoint of one run, in one process."""

import argparse
import logging
import time
from pathlib import Path

from reinduce.config.specs import ArmSpec, MeasureSpec, checkpoint_name, read_spec
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.score import losses, trajectory
from reinduce.score.checkpoint import head_scores, model_scores, read_frozen_sets, score_rows, version
from reinduce.score.contexts import context_scores
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


def run_score(args: argparse.Namespace) -> Made:
    """Write one `scores` file per checkpoint, and the run's losses and trajectory measures."""
    arm, spec = read_spec(ArmSpec, args.train), read_spec(MeasureSpec, args.measure)
    sets = read_frozen_sets(args.data)
    keys = {"study": arm.study, "arm": arm.arm, "seed": args.seed}
    classes = {"all": sets.copyable | True, "copyable": sets.copyable, "other": ~sets.copyable}
    steps = arm.train.checkpoints.steps(arm.train.steps)
    best_prefix_matching, curves = [], {}
    index_rows, token_rows, outputs = [], [], []
    began = time.monotonic()

    for step in steps:
        checkpoint = load_checkpoint(checkpoint_path(args.checkpoints, step), arm)
        heldout = losses.heldout_losses(checkpoint.model, sets.heldout)
        repeated = losses.heldout_losses(checkpoint.model, sets.repeated)
        per_head = head_scores(checkpoint.model, sets)
        of_model = model_scores(heldout, repeated, sets, spec)

        if per_head:
            best_prefix_matching.append((step, max(layer.max().item() for layer in per_head["prefix_matching"])))
        for metric, value in of_model.items():
            curves.setdefault(metric, []).append((step, value))
        here = keys | {"step": step}
        rows = list(score_rows(per_head, of_model, arm.model.heads, sets))
        if sets.contexts is not None:
            swapped = context_scores(checkpoint.model, sets.heldout, heldout, sets.contexts, spec.pairs[0])
            rows += (
                {"metric": metric, "metric_version": version(metric), "value": value, "n": n}
                for metric, (value, n) in swapped.items()
            )
        path = args.out / f"{checkpoint_name(step)}.parquet"
        outputs.append(write_rows("scores", (here | {"tokens": checkpoint.tokens} | row for row in rows), path))
        index_rows += (
            here | {"eval_set": "heldout", "token_class": name, "index": index, "loss": loss, "n": n}
            for name, index, loss, n in losses.by_index(heldout, classes)
        )
        chosen = heldout.gather(1, sets.loss_index[:, None] - 1)[:, 0]
        token_rows += (
            here | {"example": example, "index": index, "loss": loss}
            for example, (index, loss) in enumerate(zip(sets.loss_index.tolist(), chosen.tolist(), strict=True))
        )
    log.info("%s/%s/seed%d  %d checkpoints scored in %.0f s", *keys.values(), len(steps), time.monotonic() - began)

    measured = trajectory.measures(
        curves, best_prefix_matching, [pair.name for pair in spec.pairs], spec.induction_threshold
    )
    run_rows = (
        keys | {"metric": metric, "metric_version": TRAJECTORY_VERSION, "value": value, "n": len(steps)}
        for metric, value in measured.items()
    )
    outputs.append(write_rows("index_losses", index_rows, args.out / "index_losses.parquet"))
    outputs.append(write_rows("token_losses", token_rows, args.out / "token_losses.parquet"))
    outputs.append(write_rows("trajectories", run_rows, args.out / "trajectories.parquet"))
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[
            args.measure,
            args.train,
            args.data / "task.json",
            *sorted(args.data.glob("*.parquet")),
            *(checkpoint_path(args.checkpoints, step) for step in steps),
        ],
        outputs=outputs,
    )
