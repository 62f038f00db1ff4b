"""Prepare the `phrases` task: training documents are drawn as needed, so only evaluation sets are written."""

from pathlib import Path

import torch

from reinduce.data.frozen import set_seed, write_frozen_sets
from reinduce.task import Task
from reinduce.task.phrases import documents, successor_table


def prepare(task: Task, folder: Path) -> tuple[list[Path], dict]:
    """Write the evaluation sets; returns their files, and no further facts.

    All tokens but the start token are equally common, so that random tokens may be any of them.
    """
    spec = task.spec
    heldout_BT = documents(spec, successor_table(spec), task.evaluation.heldout_examples, set_seed(task, "heldout"))
    return write_frozen_sets(task, heldout_BT, torch.arange(1, spec.vocabulary), folder), {}
