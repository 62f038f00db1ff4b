"""`reinduce ablate`: every head at every scored checkpoint of one run, sets of heads at the last, and a study's own."""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from reinduce.ablate.heads import HeadAblations
from reinduce.config.arm_contents import ablations_of_arm, metrics_of_arm, modules_of_arm, unavailable_reason
from reinduce.config.declare import Ablation
from reinduce.config.job_specs import ArmSpec, checkpoint_name, read_spec, require
from reinduce.config.metric_settings import AblateSpec, MetricSettings
from reinduce.config.task_definition import TaskDefinition, read_task
from reinduce.metrics.inputs import AblationInputs, EvaluationSets, halve
from reinduce.metrics.training import read_window
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.model.transformer import Transformer
from reinduce.tables import read_table, rows_writer
from reinduce.trace.manifest import StageOutputs

log = logging.getLogger(__name__)

Rows = Iterator[dict[str, Any]]


def add_ablate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ablate", type=Path, help="how to ablate (ablate.json)")
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics and position ranges (metrics.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--scores", type=Path, required=True, help="the run's score tables")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")


def run_ablate(*jobs: argparse.Namespace) -> list[StageOutputs]:
    """Write the `ablations` table of each run."""
    return [ablate_run(job) for job in jobs]


def ablate_run(args: argparse.Namespace) -> StageOutputs:
    """Write the `ablations` table of a run."""
    arm, settings = read_spec(ArmSpec, args.train), read_spec(MetricSettings, args.metrics)
    task = read_task(args.data / "task.json")
    reason = unavailable_reason("ablations", arm, task)
    require(reason is None, f"{args.train}: the arm {reason}; ablate another")
    steps = arm.train.checkpoints.steps(arm.train.steps)
    last_scores = args.scores / f"{checkpoint_name(steps[-1])}.parquet"
    began = time.monotonic()
    ablated: set[tuple] = set()
    with rows_writer("ablations", args.out / "ablations.parquet") as write:
        for step, found in ablate_checkpoints(args, arm, task, settings, steps, last_scores):
            rows = list(found)
            ablated |= {(step, row["intervention"], row["downstream"], row["heads"]) for row in rows}
            write({"study": arm.study, "arm": arm.arm, "seed": args.seed, "step": step} | row for row in rows)
    seconds = time.monotonic() - began
    name = f"{arm.study}/{arm.arm}/seed{args.seed}"
    log.info("%s  %d ablations at %d checkpoints in %.0f s", name, len(ablated), len(steps), seconds)
    return StageOutputs(
        manifest=args.out / "manifest.json",
        inputs=[
            args.ablate,
            args.train,
            args.metrics,
            args.data / "task.json",
            *sorted(args.data.glob("*.parquet")),
            *sorted(args.data.glob("*.safetensors")),
            last_scores,
            args.scores / "trajectories.parquet",
            *(checkpoint_path(args.checkpoints, step) for step in steps),
        ],
        outputs=[args.out / "ablations.parquet"],
        modules=modules_of_arm("ablate", arm, task, settings),
    )


def ablate_checkpoints(
    args: argparse.Namespace,
    arm: ArmSpec,
    task: TaskDefinition,
    settings: MetricSettings,
    steps: Sequence[int],
    last_scores: Path,
) -> Iterator[tuple[int, Rows]]:
    """Yield each checkpoint's step and rows, without the run's keys."""
    sets, vectors = EvaluationSets(args.data, task), task.read_vectors(args.data)
    scores = read_table("scores", [last_scores]).to_pylist()

    def model_at(step: int) -> Transformer:
        model = load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model
        return model if vectors is None else model.set_features(vectors)

    heads = None
    if "heldout" in sets:
        metrics = metrics_of_arm(arm, task, settings)
        heads = HeadAblations(arm, args.seed, read_spec(AblateSpec, args.ablate), settings, metrics, sets)
        trajectories = read_table("trajectories", [args.scores / "trajectories.parquet"]).to_pylist()
        heads.set_window(model_at, steps, read_window(trajectories))
    own = list(ablations_of_arm(arm, task).values())
    for step in steps:
        yield step, ablate_checkpoint(model_at(step), step, steps, heads, own, sets, scores)


@torch.no_grad()
def ablate_checkpoint(
    model: Transformer,
    step: int,
    steps: Sequence[int],
    heads: HeadAblations | None,
    own: Sequence[Ablation],
    sets: EvaluationSets,
    scores: Sequence[Mapping[str, Any]],
) -> Rows:
    """Yield a checkpoint's rows: sweeps over heads, joint edits at the last, and the study's own ablations."""
    is_last = step == steps[-1]
    if heads is not None:
        yield from heads.sweep(model, is_last)
        if is_last:
            yield from heads.ablate_jointly(model, heads.plan_joint(scores))
    for ablation in own:
        tokens = sets[ablation.evaluation_set].tokens
        tokens = tokens[halve(len(tokens))["second_half"]]
        inputs = AblationInputs(model, sets, tokens, scores, is_end=step in (steps[0], steps[-1]))
        facts = {"metric_version": ablation.version, "n_items": len(tokens)}
        yield from (facts | row for row in ablation.compute(inputs))
