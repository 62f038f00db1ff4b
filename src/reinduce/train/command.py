"""`reinduce train`: one seed of one arm."""

import argparse
from pathlib import Path

import torch

from reinduce.config.specs import ArmSpec, digest, read_spec
from reinduce.model.checkpoint import checkpoint_path, seed_names
from reinduce.model.transformer import Transformer
from reinduce.tables import write_rows
from reinduce.task import TASKS, read_task
from reinduce.task.exemplars import read_features
from reinduce.trace.manifest import Made
from reinduce.train.loop import learning_rate, train


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arm", type=Path, help="the arm's resolved specification (train.json)")
    parser.add_argument("--seed", type=int, required=True, help="which replicate, from 0 on")
    parser.add_argument("--data", type=Path, required=True, help="the task's data folder")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and tables go")


def run_train(args: argparse.Namespace) -> Made:
    """Train, then write the log and the run's row.

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
    stream = TASKS[task.name].Stream(task.spec, args.data, args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    features = read_features(args.data) if arm.model.features else None
    history = train(arm, args.seed, stream.batch, args.out, device, features)

    keys = {"study": arm.study, "arm": arm.arm, "seed": args.seed}
    per_step = arm.train.batch * (arm.model.context - 1)
    steps = (
        keys
        | {
            "step": step,
            "tokens": step * per_step,
            "loss": history["loss"][step].item(),
            "learning_rate": learning_rate(arm.train, step),
            "gradient_norm": history["gradient_norm"][step].item(),
        }
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
    outputs = [checkpoint_path(args.out / "checkpoints", step) for step in kept]
    outputs.append(write_rows("train_log", steps, args.out / "train_log.parquet"))
    outputs.append(write_rows("runs", [run], args.out / "run.parquet"))
    read = [args.data / "task.json", *args.data.glob("*.bin"), *args.data.glob("*.safetensors")]
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[args.arm, *sorted(read), *sorted(args.data.glob("tokenizer.json"))],
        outputs=outputs,
        details={"seeds": seed_names(arm, args.seed), "device": device, "threads": torch.get_num_threads()},
    )
