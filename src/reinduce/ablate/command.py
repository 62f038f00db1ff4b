"""`reinduce ablate`: every head at every scored checkpoint of one run, and sets of heads at the last."""

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from reinduce.ablate.choose import Head, above, matched_draw
from reinduce.ablate.exemplars import effects
from reinduce.ablate.joint import ABLATIONS, OTHER_EDITS, ROWS, joint_losses
from reinduce.ablate.sweep import pairs_of_heads, single_heads
from reinduce.config.layout import why_without
from reinduce.config.specs import AblateSpec, ArmSpec, MeasureSpec, checkpoint_name, read_spec, stream_seed
from reinduce.model.checkpoint import checkpoint_path, load_checkpoint
from reinduce.model.stand_ins import stand_ins
from reinduce.model.transformer import Transformer, token_losses
from reinduce.tables import read_table, rows_writer
from reinduce.task.evaluation import Questions, copyable, loss_indices, read_examples, read_questions, skill
from reinduce.task.exemplars import read_features
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


def run_ablate(*jobs: argparse.Namespace) -> list[Made]:
    """Write the `ablations` table of each run."""
    return [ablate_run(job) for job in jobs]


def ablate_run(args: argparse.Namespace) -> Made:
    """Write the `ablations` table of a run."""
    arm = read_spec(ArmSpec, args.train)
    why = why_without("ablations", arm)
    if why:
        raise ValueError(f"{args.train}: the arm {why}; ablate another")
    steps = arm.train.checkpoints.steps(arm.train.steps)
    began = time.monotonic()
    found = (of_exemplars if arm.model.features else of_language)(args, arm, steps)
    edits: set[tuple] = set()
    with rows_writer("ablations", args.out / "ablations.parquet") as write:
        for step, rows in zip(steps, found, strict=True):
            edits |= {(step, row["edit"], row["heads"]) for row in rows}
            write({"study": arm.study, "arm": arm.arm, "seed": args.seed, "step": step} | row for row in rows)
    took = time.monotonic() - began
    name = f"{arm.study}/{arm.arm}/seed{args.seed}"
    log.info("%s  %d ablations at %d checkpoints in %.0f s", name, len(edits), len(steps), took)
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[
            args.ablate,
            args.train,
            args.measure,
            *sorted(args.data.glob("*.parquet")),
            *sorted(args.data.glob("features.safetensors")),
            last_scores(args.scores, steps),
            args.scores / "trajectories.parquet",
            *(checkpoint_path(args.checkpoints, step) for step in steps),
        ],
        outputs=[args.out / "ablations.parquet"],
    )


def of_exemplars(args: argparse.Namespace, arm: ArmSpec, steps: list[int]) -> Iterator[list[dict]]:
    """Rows of each checkpoint of a run on exemplars; all edits at the first and the last."""
    tokens, vectors = read_examples(args.data / "trained.parquet"), read_features(args.data)
    scores = read_table("scores", [last_scores(args.scores, steps)]).to_pylist()
    for step in steps:
        model = load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model.give_features(vectors)
        found = effects(model, tokens, scores, whole=step in (steps[0], steps[-1]))
        yield [{"metric_version": VERSION, "n": len(tokens)} | row for row in found]


def of_language(args: argparse.Namespace, arm: ArmSpec, steps: list[int]) -> Iterator[list[dict]]:
    """Rows of each checkpoint of a run on language: sweeps over heads, and joint edits at the last."""
    spec, measure = read_spec(AblateSpec, args.ablate), read_spec(MeasureSpec, args.measure)
    heldout = args.data / "heldout.parquet"
    tokens, index = read_examples(heldout)[: spec.examples], loss_indices(heldout)[: spec.examples]
    if len(tokens) < spec.examples:
        raise ValueError(f"{heldout}: {len(tokens)} examples, ablation wants {spec.examples}")

    def model_at(step: int) -> Transformer:
        return load_checkpoint(checkpoint_path(args.checkpoints, step), arm).model

    def losses_at(step: int) -> Tensor:
        return intact_losses(model_at(step), tokens)

    direction = change_direction(losses_at, steps, index, window(args.scores))
    asked = [some.among(slice(spec.examples)) for some in read_questions(args.data)]
    whole = Effects(measure, tokens, index, direction, asked)
    swept = slice(spec.sweep_examples)
    sweep_effects = Effects(
        measure,
        tokens[swept],
        index[swept],
        None if direction is None else direction[swept],
        [some.among(swept) for some in asked],
    )
    for step in steps:
        sweeps = {"single": single_heads} | ({"pair": pairs_of_heads} if step == steps[-1] else {})
        rows = list(at_checkpoint(model_at(step), sweep_effects, tokens[swept], sweeps, spec.sweep_methods))
        if step == steps[-1]:
            scores = read_table("scores", [last_scores(args.scores, steps)]).to_pylist()
            chosen = joint_edits(scores, measure, spec, arm, args.seed)
            noise = stream_seed("noise", arm.study, arm.arm, args.seed)
            rows += at_last_checkpoint(model_at(step), whole, tokens, chosen, noise)
        yield rows


@torch.no_grad()
def at_checkpoint(
    model: Transformer, effects: "Effects", tokens_BT: Tensor, sweeps: Mapping[str, Callable], methods: Sequence[str]
) -> Iterator[dict]:
    """Effects of exhaustive sweeps; `sweeps`: what is chosen → the sweep over it."""
    puts = stand_ins(model, tokens_BT)
    baseline = effects.of(intact_losses(model, tokens_BT)[None])[0]
    for chosen, sweep in sweeps.items():
        summed: dict[tuple, Tensor] = {}
        for rows, edit, heads, losses in sweep(model, tokens_BT, puts, methods):
            for copy, value in zip(heads, effects.of(losses, rows), strict=True):
                key = (edit, copy)
                summed[key] = summed[key] + value if key in summed else value
        for (edit, heads), value in summed.items():
            facts = {"edit": edit, "chosen": chosen, "heads": heads_name(heads)}
            if chosen == "single":
                facts |= {"layer": heads[0][0], "head": heads[0][1]}
            yield from (facts | row for row in effects.rows(value, baseline))


@torch.no_grad()
def at_last_checkpoint(
    model: Transformer,
    effects: "Effects",
    tokens_BT: Tensor,
    edits: Iterable[tuple[str, int | None, str, list[Head]]],
    seed: int,
) -> Iterator[dict]:
    """Effects of joint edits."""
    puts = stand_ins(model, tokens_BT)
    baseline = effects.of(intact_losses(model, tokens_BT)[None])[0]
    edits = list(edits)
    all_losses = joint_losses(model, tokens_BT, [(edit, heads) for _, _, edit, heads in edits], puts, seed)
    for (chosen, draw, edit, heads), losses in zip(edits, all_losses, strict=True):
        facts = {"edit": edit, "chosen": chosen, "draw": draw, "heads": heads_name(heads)}
        yield from (facts | row for row in effects.rows(effects.of(losses[None])[0], baseline))


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
            for edit in (*ABLATIONS, *OTHER_EDITS):
                yield chosen, None, edit, heads
    for draw in range(spec.draws):
        name = stream_seed("ablate", arm.arm, seed, draw)
        heads = matched_draw(kinds["induction"], arm.model.layers, arm.model.heads, name)
        if heads:
            for edit in ABLATIONS:
                yield "random", draw, edit, heads


def heads_name(heads: Iterable[Head]) -> str:
    """E.g. '1.3' for head 3 of the second layer, '0.1+1.3' for two heads."""
    return "+".join(f"{layer}.{head}" for layer, head in heads)


def last_scores(folder: Path, steps: list[int]) -> Path:
    """The scores by which heads are chosen."""
    return folder / f"{checkpoint_name(steps[-1])}.parquet"


@torch.no_grad()
def intact_losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Losses without any edit [B T-1]."""
    return torch.cat([token_losses(model(chunk)[0], chunk) for chunk in tokens_BT.split(ROWS)])


def window(folder: Path) -> tuple[float, float] | None:
    """The run's phase-change window, if it has one."""
    found = {
        row["metric"]: row["value"] for row in read_table("trajectories", [folder / "trajectories.parquet"]).to_pylist()
    }
    ends = found["window_start"], found["window_end"]
    return None if None in ends else ends


def change_direction(
    losses_at: Callable[[int], Tensor], steps: list[int], index: Tensor, ends: tuple[float, float] | None
) -> Tensor | None:
    """The before-and-after vector [B]: how the window changed per-token losses, at length one.

    From the last checkpoint at or before the window's start to the first at or after its
    end; None without a window.
    """
    if ends is None:
        return None
    before = max(step for step in steps if step <= ends[0])
    after = min(step for step in steps if step >= ends[1])
    change = at_index(losses_at(after), index) - at_index(losses_at(before), index)
    return change / change.norm()


def at_index(losses_BT1: Tensor, index: Tensor) -> Tensor:
    """Each example's loss at its own fixed random token index [B]."""
    return losses_BT1.gather(1, index[:, None] - 1)[:, 0]


class Effects:
    """What an edit does to a run's losses: every metric is a weighted sum over tokens.

    `loss` is the losses' mean; `icl_score`, `icl_score_copyable`, `icl_score_other` the mean of
    late minus that of early indices, over all tokens, those that complete a bigram seen
    before, and the rest; `before_after` their change along the before-and-after vector,
    negative if the edit undoes the change; `skill:<kind>` the `skill` of answers to a kind of question.
    """

    def __init__(
        self,
        measure: MeasureSpec,
        tokens_BT: Tensor,
        index: Tensor,
        direction: Tensor | None,
        questions: Iterable[Questions] = (),
    ):
        copied = copyable(tokens_BT)[:, 1:]
        pair, ones = measure.pairs[0], torch.ones(copied.shape, dtype=torch.float64)
        classes = {"icl_score": ones.bool(), "icl_score_copyable": copied, "icl_score_other": ~copied}
        weights = {"loss": ones / ones.numel()}
        for name, member in classes.items():
            late, early = (_mean_over(member, ends) for ends in (pair.late, pair.early))
            weights[name] = None if late is None or early is None else late - early
        weights["before_after"] = None
        if direction is not None:
            weights["before_after"] = torch.zeros_like(ones).scatter_(
                1, index[:, None] - 1, direction[:, None].double()
            )
        self.examples, self.questions = len(tokens_BT), list(questions)
        self.unmeasured = [name for name, weight in weights.items() if weight is None]
        self.metrics = [name for name in weights if name not in self.unmeasured]
        self.weights_MBT1 = torch.stack([weights[name] for name in self.metrics])
        self.metrics += [f"skill:{asked.kind}" for asked in self.questions]

    def of(self, losses_CBT1: Tensor, rows: slice = slice(None)) -> Tensor:
        """Metrics [C M] of copies' losses on some examples; those on all are the sum over parts."""
        summed_CM = losses_CBT1.flatten(1).double() @ self.weights_MBT1[:, rows].flatten(1).T
        answered = [
            skill(losses_CBT1, asked.is_answer[rows], asked.chance).sum(dim=1) / asked.is_answer.sum()
            for asked in self.questions
        ]
        return torch.cat((summed_CM, *(part_C[:, None] for part_C in answered)), dim=1)

    def rows(self, value_M: Tensor, baseline_M: Tensor) -> Iterator[dict]:
        """Metric, value, baseline; null where there is nothing to measure."""
        facts = {"metric_version": VERSION, "n": self.examples}
        for metric, value, baseline in zip(self.metrics, value_M.tolist(), baseline_M.tolist(), strict=True):
            if metric == "before_after":
                value, baseline = value - baseline, 0.0
            yield facts | {"metric": metric, "value": value, "baseline": baseline}
        for metric in self.unmeasured:
            yield facts | {"metric": metric, "value": None, "baseline": None}


def _mean_over(member_BT1: Tensor, ends: tuple[int, int]) -> Tensor | None:
    """Weights that take the mean over the tokens of a class between two indices, both included."""
    chosen = torch.zeros(member_BT1.shape, dtype=torch.float64)
    chosen[:, ends[0] - 1 : ends[1]] = member_BT1[:, ends[0] - 1 : ends[1]].double()
    return chosen / chosen.sum() if chosen.any() else None
