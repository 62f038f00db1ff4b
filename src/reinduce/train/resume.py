"""Save a training's state, resume from it, and publish its checkpoints."""

import logging
import os
import shutil
from pathlib import Path

from torch import Tensor

from reinduce.model.checkpoint import checkpoint_path
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.trace.files import atomic_write
from reinduce.train.optimizer import AdamW

log = logging.getLogger(__name__)

STATE = "state.safetensors"


def save_state(folder: Path, fingerprint: str, step: int, optimizer: AdamW, history: dict[str, Tensor]) -> None:
    """Write everything that an exact resume needs to one file.

    Args:
        folder: the folder for the state.
        fingerprint: identifies all that the training depends on.
        step: the next step.
        optimizer: holds weights, moments and step counters.
        history: the log, one value a step.
    """
    tensors = _all_tensors(optimizer, history)
    save_tensors(folder / STATE, tensors, {"fingerprint": fingerprint, "step": str(step)})


def load_state(folder: Path, fingerprint: str, optimizer: AdamW, history: dict[str, Tensor]) -> int:
    """Load the saved state in place, if there is one with the same fingerprint.

    Args:
        folder: the folder with the state.
        fingerprint: identifies all that the training depends on.
        optimizer: receives weights, moments and step counters.
        history: receives the log.

    Returns:
        The step to resume from; 0 without a usable state.
    """
    path = folder / STATE
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    if metadata.get("fingerprint") != fingerprint:
        log.warning("%s comes from other settings, data, sources or versions: training starts anew", path)
        return 0
    for name, values in _all_tensors(optimizer, history).items():
        values.copy_(tensors[name])
    log.info("resumed from step %s", metadata["step"])
    return int(metadata["step"])


def _all_tensors(optimizer: AdamW, history: dict[str, Tensor]) -> dict[str, Tensor]:
    return optimizer.state | {f"history.{name}": values for name, values in history.items()}


def publish_checkpoints(saved: Path, published: Path, steps: list[int]) -> None:
    """Put finished checkpoints where readers look for them, and keep them in `saved`.

    If the job fails later, its published files are removed, and the next run publishes them again.

    Args:
        saved: the folder that the training writes to.
        published: the folder for readers.
        steps: the checkpoints' steps.
    """
    published.mkdir(parents=True, exist_ok=True)
    for step in steps:
        with atomic_write(checkpoint_path(published, step)) as aside:
            try:
                os.link(checkpoint_path(saved, step), aside)
            except OSError:
                # Not every file system has hard links.
                shutil.copyfile(checkpoint_path(saved, step), aside)
