"""`reinduce ablate`: every head at every scored checkpoint of one run, and sets of heads at the last."""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from reinduce.ablate.choose import Head, above, matched_draw
from reinduce.ablate.sweep import JOINT_EDITS, head_name, joint_losses, single_head_losses
from reinduce.config.specs import AblateSpec, ArmSpec, MeasureSpec, checkpoint_name, read_spec, stream_seed
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.tables import read_table, write_rows
from reinduce.task.evaluation import in_context_score, loss_indices, read_examples
from reinduce.trace.manifest import Made

log = logging.getLogger(__name__)

VERSION = 1


def add_ablate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ablate", type=Path, help="how to ablate (ablate.json)")
    parser.add_argument("--train", type=Path, required=True, help="the arm's resolved specification (train.json)")
    parser.add_argument("--measure", type=Path, required=True, help="thresholds and index pairs (measure.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--checkpoints", type=Path, required=True, help="the run's checkpoints")
    parser.add_argument("--scores", type=Path, required=True, help="the run's score tables")
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")


def run_ablate(args: argparse.Namespace) -> Made:
    """Write the `ablations` table of a run."""
    spec, arm = read_spec(AblateSpec, args.ablate), read_spec(ArmSpec, args.train)
    measure = read_spec(MeasureSpec, args.measure)
    heldout = args.data / "heldout.parquet"
    tokens, index = read_examples(heldout)[: spec.examples], loss_indices(heldout)[: spec.examples]
    if len(tokens) < spec.examples:
        raise ValueError(f"{heldout}: {len(tokens)} examples, ablation wants {spec.examples}")
    keys = {"study": arm.study, "arm": arm.arm, "seed": args.seed}
    steps = arm.train.checkpoints.steps(arm.train.steps)

    def model_at(step: int):
        return load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model

    began = time.monotonic()
    sweeps = {step: single_head_losses(model_at(step), tokens) for step in steps}
    intact = {step: losses for step, (losses, _) in sweeps.items()}
    direction = change_direction(intact, index, window(args.scores / "trajectories.parquet"))
    effect = Effects(measure, index, direction)
    rows: list[dict] = []
    for step in steps:
        for edit, per_head in sweeps[step][1].items():
            for head, losses in per_head.items():
                facts = keys | {"step": step, "edit": edit, "chosen": "single", "heads": head_name(head)}
                facts |= {"layer": head[0], "head": head[1]}
                rows += (facts | effects for effects in effect.rows(losses, intact[step]))
    last = steps[-1]
    scores_file = args.scores / f"{checkpoint_name(last)}.parquet"
    for chosen, draw, edit, heads in joint_edits(
        read_table("scores", [scores_file]).to_pylist(), measure, spec, arm, args.seed
    ):
        losses = joint_losses(model_at(last), tokens, edit, heads)
        facts = keys | {"step": last, "edit": edit, "chosen": chosen, "draw": draw}
        facts |= {"heads": "+".join(head_name(head) for head in heads)}
        rows += (facts | effects for effects in effect.rows(losses, intact[last]))
    log.info("%s/%s/seed%d  %d checkpoints ablated in %.0f s", *keys.values(), len(steps), time.monotonic() - began)
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[
            args.ablate,
            args.train,
            args.measure,
            heldout,
            scores_file,
            args.scores / "trajectories.parquet",
            *(checkpoint_path(args.checkpoints, step) for step in steps),
        ],
        outputs=[write_rows("ablations", rows, args.out / "ablations.parquet")],
    )


def joint_edits(
    scores: list[dict], measure: MeasureSpec, spec: AblateSpec, arm: ArmSpec, seed: int
) -> Iterator[tuple[str, int | None, str, list[Head]]]:
    """(chosen, draw, edit, heads) of every joint edit; none for a kind of head the run does not have."""
    kinds = {
        "induction": above(scores, "prefix_matching", measure.induction_threshold),
        "previous_token": above(scores, "previous_token", measure.previous_token_threshold),
    }
    for chosen, heads in kinds.items():
        if heads:
            # Both ideal patterns: the one that is not the heads' own is the control.
            for edit in JOINT_EDITS:
                yield chosen, None, edit, heads
    for draw in range(spec.draws):
        name = stream_seed("ablate", arm.arm, seed, draw)
        heads = matched_draw(kinds["induction"], arm.model.layers, arm.model.heads, name)
        if heads:
            for edit in ("full", "pattern_preserving"):
                yield "random", draw, edit, heads


def window(path: Path) -> tuple[float, float] | None:
    """The run's phase-change window, if it has one."""
    found = {row["metric"]: row["value"] for row in read_table("trajectories", [path]).to_pylist()}
    ends = found["window_start"], found["window_end"]
    return None if None in ends else ends


def change_direction(intact: dict[int, Tensor], index: Tensor, ends: tuple[float, float] | None) -> Tensor | None:
    """The before-and-after vector [B]: how the window changed per-token losses, at length one.

    From the last checkpoint at or before the window's start to the first at or after its
    end; None without a window.
    """
    if ends is None:
        return None
    before = max(step for step in intact if step <= ends[0])
    after = min(step for step in intact if step >= ends[1])
    change = at_index(intact[after], index) - at_index(intact[before], index)
    return change / change.norm()


def at_index(losses_BT1: Tensor, index: Tensor) -> Tensor:
    """Each example's loss at its own fixed random token index [B]."""
    return losses_BT1.gather(1, index[:, None] - 1)[:, 0]


class Effects:
    """What an edit does to a run's losses: rows of metric, value, baseline."""

    def __init__(self, measure: MeasureSpec, index: Tensor, direction: Tensor | None):
        self.measure, self.index, self.direction = measure, index, direction

    def rows(self, edited: Tensor, intact: Tensor) -> Iterator[dict]:
        pair = self.measure.pairs[0]
        values = {
            "loss": (edited.double().mean().item(), intact.double().mean().item()),
            "icl_score": (in_context_score(edited, pair), in_context_score(intact, pair)),
            "before_after": (self.along_change(edited - intact), None if self.direction is None else 0.0),
        }
        for metric, (value, baseline) in values.items():
            yield {
                "metric": metric,
                "metric_version": VERSION,
                "value": value,
                "baseline": baseline,
                "n": len(edited),
            }

    def along_change(self, difference: Tensor) -> float | None:
        """Length of a change of losses along the before-and-after vector; negative: it undoes the change."""
        if self.direction is None:
            return None
        return torch.dot(at_index(difference, self.index), self.direction).item()
