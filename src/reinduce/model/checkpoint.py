"""Checkpoints: a model's weights at a training step, with the arm, seed and step in the file's metadata."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from reinduce.config.job_specs import ArmSpec, checkpoint_name, from_dict, to_json
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.model.transformer import Transformer


@dataclass(frozen=True)
class Checkpoint:
    """A model and the training that it comes from."""

    model: Transformer
    arm: ArmSpec
    seed: int
    step: int
    tokens: int
    """Tokens trained on so far."""


def checkpoint_path(folder: str | Path, step: int) -> Path:
    """Return the path of a step's checkpoint in a folder."""
    return Path(folder) / f"{checkpoint_name(step)}.safetensors"


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint.

    Args:
        path: the file to write.
        checkpoint: weights, arm, seed, step and tokens.

    Returns:
        The path.
    """
    counts = {"seed": checkpoint.seed, "step": checkpoint.step, "tokens": checkpoint.tokens}
    metadata = {
        "arm": to_json(checkpoint.arm),
        "seeds": json.dumps(seed_names(checkpoint.arm, checkpoint.seed), sort_keys=True),
        **{name: str(value) for name, value in counts.items()},
    }
    return save_tensors(path, dict(checkpoint.model.named_parameters()), metadata)


def load_checkpoint(path: str | Path, arm: ArmSpec | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file.
        arm: the arm that the file must come from; None for any.

    Returns:
        The checkpoint, its model in evaluation mode and without gradients.

    Raises:
        ValueError: if the file is damaged, or was trained as another arm than `arm`.
    """
    tensors, metadata = load_tensors(path)
    found = from_dict(ArmSpec, json.loads(metadata["arm"]))
    if arm is not None and found != arm:
        differing = [f.name for f in dataclasses.fields(arm) if getattr(arm, f.name) != getattr(found, f.name)]
        raise ValueError(f"{path}: trained with another {', '.join(differing)} than the arm's; train it again")
    model = Transformer(found.model)
    model.load_state_dict(tensors, strict=True)
    counts = {name: int(metadata[name]) for name in ("seed", "step", "tokens")}
    return Checkpoint(model.eval().requires_grad_(False), found, **counts)


def seed_names(arm: ArmSpec, seed: int) -> dict[str, str]:
    """Name the random streams of a seed: one draws the weights, one orders the data, one the evaluation sets.

    Arms of one task share a seed's data order, so that their differences are paired.

    Args:
        arm: the arm.
        seed: the replicate.

    Returns:
        Purpose → name of the stream.
    """
    start = arm.init_from_arm or arm.arm
    return {"init": f"init/{start}/{seed}", "data": f"data/{arm.task}/{seed}", "evaluation": f"evaluation/{arm.task}"}
