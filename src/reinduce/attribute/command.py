"""`reinduce attribute`: each head's direct effect on the token that a repeat promises."""

import argparse
import logging
from pathlib import Path

from reinduce.attribute.direct import direct_logits
from reinduce.config.specs import ArmSpec, read_spec
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.tables import write_rows
from reinduce.task.evaluation import read_examples
from reinduce.trace.manifest import Made

log = logging.getLogger(__name__)

VERSION = 1


def add_attribute_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")


def run_attribute(args: argparse.Namespace) -> Made:
    """Write the `attributions` table of a run, for all its checkpoints."""
    arm = read_spec(ArmSpec, args.train)
    repeated_file, random_file = args.data / "repeated.parquet", args.data / "random.parquet"
    repeated = read_examples(repeated_file)
    period = read_examples(random_file).shape[1] - 1
    steps = arm.train.checkpoints.steps(arm.train.steps)
    rows = []
    for step in steps:
        model = load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model
        for layer, values in enumerate(direct_logits(model, repeated, period)):
            rows += (
                {"study": arm.study, "arm": arm.arm, "seed": args.seed, "step": step}
                | {"source": f"{layer}.{head}", "layer": layer, "head": head, "target": "next_in_repeat"}
                | {"metric": "direct_logit", "metric_version": VERSION, "value": value, "n": len(repeated)}
                for head, value in enumerate(values.tolist())
            )
    log.info("%s/%s/seed%d  %d checkpoints attributed", arm.study, arm.arm, args.seed, len(steps))
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[args.train, repeated_file, random_file, *(checkpoint_path(args.checkpoints, s) for s in steps)],
        outputs=[write_rows("attributions", rows, args.out / "attributions.parquet")],
    )
