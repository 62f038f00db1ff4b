"""`reinduce train`: seeds of one arm, one after another."""

import argparse
from pathlib import Path

import torch

from reinduce.config.specs import ArmSpec, digest, read_spec
from reinduce.model.checkpoint import checkpoint_path, seed_names
from reinduce.model.transformer import Transformer
from reinduce.tables import write_rows
from reinduce.task import TASKS, Task, read_task
from reinduce.trace.manifest import Made
from reinduce.train.loop import learning_rate, train
from reinduce.train.short import Losses, losses_for


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arm", type=Path, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="which replicates, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--donors", type=Path, nargs="*", default=[], help="for a graft: a checkpoint for each seed")
    parser.add_argument("--out", type=Path, required=True, help="the arm's folder: seed<k>/train goes there")


def run_train(args: argparse.Namespace) -> list[Made]:
    """Train one seed after another; for each write the log and the run's row.

    Raises ValueError if the task's data do not fit the arm's model.
    """
    arm = read_spec(ArmSpec, args.arm)
    task = read_task(args.data / "task.json")
    for name in ("vocabulary", "context", *(name for name in ("features", "exemplars") if hasattr(task.spec, name))):
        if getattr(task.spec, name) != getattr(arm.model, name):
            raise ValueError(
                f"{args.arm}: the model's {name} is {getattr(arm.model, name)}, "
                f"that of {args.data} is {getattr(task.spec, name)}"
            )
    wanted = 0 if arm.graft is None else len(args.seeds)
    if len(args.donors) != wanted:
        raise ValueError(f"{args.arm}: --donors names {len(args.donors)} checkpoints, {wanted} expected")
    losses_of = losses_for(arm.model, arm.train.steps * len(args.seeds))
    donors = args.donors or [None] * len(args.seeds)
    return [train_seed(args, arm, task, seed, donor, losses_of) for seed, donor in zip(args.seeds, donors, strict=True)]


def train_seed(
    args: argparse.Namespace, arm: ArmSpec, task: Task, seed: int, donor: Path | None, losses_of: Losses
) -> Made:
    """Train one seed and write its tables."""
    out = args.out / f"seed{seed}" / "train"
    stream = TASKS[task.name].Stream(task.spec, args.data, seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    history = train(arm, seed, stream.batch, out, device, getattr(stream, "features", None), donor, losses_of)

    keys = {"study": arm.study, "arm": arm.arm, "seed": seed}
    per_step = arm.train.batch * (arm.model.context - 1)
    columns = {name: values.tolist() for name, values in history.items()}
    steps = (
        keys
        | {"step": step, "tokens": step * per_step, "learning_rate": learning_rate(arm.train, step)}
        | {name: values[step] for name, values in columns.items()}
        for step in range(arm.train.steps)
    )
    run = keys | {
        "task": arm.task,
        "config_digest": digest(arm),
        "parameters": sum(p.numel() for p in Transformer(arm.model).parameters()),
        "steps": arm.train.steps,
        "tokens": arm.train.steps * per_step,
        "device": device,
    }
    kept = arm.train.checkpoints.steps(arm.train.steps)
    outputs = [checkpoint_path(out / "checkpoints", step) for step in kept]
    outputs.append(write_rows("train_log", steps, out / "train_log.parquet"))
    outputs.append(write_rows("runs", [run], out / "run.parquet"))
    read = [args.data / "task.json", *args.data.glob("*.bin"), *args.data.glob("*.safetensors")]
    return Made(
        manifest=out / "manifest.json",
        inputs=[args.arm, *sorted(read), *sorted(args.data.glob("tokenizer.json")), *([donor] if donor else [])],
        outputs=outputs,
        details={"seeds": seed_names(arm, seed), "device": device, "threads": torch.get_num_threads()},
    )
