"""`reinduce data`: a task's evaluation sets, and its training text or vectors where it has any."""

import argparse
import dataclasses
from pathlib import Path

from reinduce.config.task_definition import read_task
from reinduce.trace.files import write_text
from reinduce.trace.manifest import StageOutputs


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", type=Path, help="the task's resolved specification (task.json)")
    parser.add_argument("--out", type=Path, required=True, help="the task's data folder")


def run_data(args: argparse.Namespace) -> StageOutputs:
    """Write the data folder of a task.

    Raises:
        FileNotFoundError or ValueError: if the specification or its source of text cannot be used.
    """
    task = read_task(args.task)
    facts = task.write_data(args.out)
    # Later stages read the task beside its data; usually it lies there already.
    write_text(args.out / "task.json", args.task.read_text())
    return StageOutputs(
        manifest=args.out / "manifest.json",
        inputs=[args.task, *task.user_files()],
        outputs=[args.out / name for name in task.file_names()],
        details={"task": task.qualified_name(), "evaluation": dataclasses.asdict(task.sizes), **facts},
        modules=[task.module],
    )
