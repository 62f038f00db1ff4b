"""`reinduce attribute`: each head's direct effect on the token that a repeat promises, and paths between heads."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reinduce.attribute.direct import direct_logit_attribution
from reinduce.attribute.paths import Edge, path_patching
from reinduce.config.arm_contents import modules_of_arm
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.config.task_definition import read_task
from reinduce.metrics.inputs import halve
from reinduce.metrics.of_stages import DIRECT_LOGIT, DIRECT_LOGIT_POSITIVE, PATH_LOSS
from reinduce.model.ablation_values import collect_ablation_values
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.model.transformer import Transformer, token_losses
from reinduce.tables import write_rows
from reinduce.tasks.evaluation_sets import EvaluationSet
from reinduce.trace.manifest import StageOutputs

log = logging.getLogger(__name__)

ROWS = 16
"""Sequences in an ordinary forward pass."""


def add_attribute_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")


def run_attribute(*jobs: argparse.Namespace) -> list[StageOutputs]:
    """Write the `attributions` table of each run, for all its checkpoints."""
    return [attribute_run(job) for job in jobs]


@torch.no_grad()
def attribute_run(args: argparse.Namespace) -> StageOutputs:
    """Write the `attributions` table of a run, for all its checkpoints.

    Repeated sequences of the second half alone: heads are chosen on the first.
    """
    arm = read_spec(ArmSpec, args.train)
    if not arm.model.has_heads:
        raise ValueError(f"{args.train}: a {arm.model.mixer} has no heads whose effects could be attributed")
    repeated_file, random_file = args.data / "repeated.parquet", args.data / "random.parquet"
    repeated = EvaluationSet(repeated_file).tokens
    repeated = repeated[halve(len(repeated))["second_half"]]
    period = EvaluationSet(random_file).tokens.shape[1] - 1
    steps = arm.train.checkpoints.steps(arm.train.steps)
    keys = {"study": arm.study, "arm": arm.arm, "seed": args.seed}
    rows: list[dict[str, Any]] = []
    for step in steps:
        model = load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model
        here = [*direct_logit_attribution_rows(model, repeated, period)]
        if step == steps[-1]:
            here += path_patching_rows(model, repeated, period)
        facts = keys | {"step": step, "n_items": len(repeated)}
        rows += (facts | row for row in here)
    log.info("%s/%s/seed%d  %d checkpoints attributed", arm.study, arm.arm, args.seed, len(steps))
    return StageOutputs(
        manifest=args.out / "manifest.json",
        inputs=[args.train, repeated_file, random_file, *(checkpoint_path(args.checkpoints, s) for s in steps)],
        outputs=[write_rows("attributions", rows, args.out / "attributions.parquet")],
        modules=modules_of_arm("attribute", arm, read_task(args.data / "task.json"), None),
    )


def direct_logit_attribution_rows(model: Transformer, repeated_BT: Tensor, period: int) -> Iterator[dict]:
    """Direct effects on the next token of a repeat: the mean, and the share of places where it is positive."""
    for layer, values_BQH in enumerate(direct_logit_attribution(model, repeated_BT, period)):
        metrics = {DIRECT_LOGIT: values_BQH, DIRECT_LOGIT_POSITIVE: (values_BQH > 0).float()}
        for metric, values in metrics.items():
            for head, value in enumerate(values.mean(dim=(0, 1)).tolist()):
                yield {"source": f"{layer}.{head}", "layer": layer, "head": head} | {
                    "target": "next_in_repeat",
                    "metric": metric.name,
                    "metric_version": metric.version,
                    "value": value,
                }


def path_patching_rows(model: Transformer, repeated_BT: Tensor, period: int) -> Iterator[dict]:
    """What cutting each path between two heads costs on the second and later repeats, in nats a token."""
    intact = torch.cat([token_losses(model(part)[0], part) for part in repeated_BT.split(ROWS)])
    summed: dict[Edge, float] = {}
    for rows, paths, losses in path_patching(model, repeated_BT, collect_ablation_values(model, repeated_BT)):
        change = (losses - intact[rows])[:, :, period:].double().mean(dim=2).sum(dim=1) / len(repeated_BT)
        for path, value in zip(paths, change.tolist(), strict=True):
            summed[path] = summed.get(path, 0.0) + value
    for ((layer, head), receiver, kind), value in summed.items():
        target = f"{receiver[0]}.{receiver[1]}.{kind}"
        yield {"source": f"{layer}.{head}", "layer": layer, "head": head} | {
            "target": target,
            "metric": PATH_LOSS.name,
            "metric_version": PATH_LOSS.version,
            "value": value,
        }
