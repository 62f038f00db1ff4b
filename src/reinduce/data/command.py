"""`reinduce data`: a task's frozen evaluation sets, and its training text where it has one."""

import argparse
import dataclasses
from pathlib import Path

from reinduce.data import exemplars, phrases, source_text, suite, synonyms, topics
from reinduce.task import read_task
from reinduce.task.specs import own_files
from reinduce.trace.files import write_text
from reinduce.trace.manifest import Made

PREPARE = {
    "phrases": phrases.prepare,
    "synonyms": synonyms.prepare,
    "topics": topics.prepare,
    "suite": suite.prepare,
    "exemplars": exemplars.prepare,
    "source_text": source_text.prepare,
}


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", type=Path, help="the task's resolved specification (task.json)")
    parser.add_argument("--out", type=Path, required=True, help="the task's data folder")


def run_data(args: argparse.Namespace) -> Made:
    """Write the data folder of a task.

    Raises FileNotFoundError or ValueError if the specification or its source of text cannot be used.
    """
    task = read_task(args.task)
    files, facts = PREPARE[task.name](task, args.out)
    # Later stages read the task beside its data; usually it lies there already.
    write_text(args.out / "task.json", args.task.read_text())
    return Made(
        manifest=args.out / "manifest.json",
        inputs=[args.task, *own_files(dataclasses.asdict(task.spec))],
        outputs=files,
        details={"task": task.name, "evaluation": dataclasses.asdict(task.evaluation), **facts},
    )
