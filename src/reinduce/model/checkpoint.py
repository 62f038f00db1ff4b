"""A model's weights at a step, in a file that describes itself."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from reinduce.config.specs import ArmSpec, checkpoint_name, from_dict, to_json
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.model.transformer import Transformer


@dataclass(frozen=True)
class Checkpoint:
    """Weights and where they come from."""

    model: Transformer
    arm: ArmSpec
    seed: int
    step: int
    tokens: int


def checkpoint_path(folder: str | Path, step: int) -> Path:
    return Path(folder) / f"{checkpoint_name(step)}.safetensors"


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint with its arm, seed, step and tokens seen."""
    facts = {"seed": checkpoint.seed, "step": checkpoint.step, "tokens": checkpoint.tokens}
    metadata = {
        "arm": to_json(checkpoint.arm),
        "seeds": json.dumps(seed_names(checkpoint.arm, checkpoint.seed), sort_keys=True),
        **{name: str(value) for name, value in facts.items()},
    }
    return save_tensors(path, dict(checkpoint.model.named_parameters()), metadata)


def load_checkpoint(path: str | Path, arm: ArmSpec | None = None) -> Checkpoint:
    """Read a checkpoint, in evaluation mode.

    Raises ValueError if the file is damaged, or was trained as another arm than `arm`.
    """
    tensors, metadata = load_tensors(path)
    found = from_dict(ArmSpec, json.loads(metadata["arm"]))
    if arm is not None and found != arm:
        differing = [f.name for f in dataclasses.fields(arm) if getattr(arm, f.name) != getattr(found, f.name)]
        raise ValueError(f"{path}: trained under another {', '.join(differing)} than asked for; train it again")
    model = Transformer(found.model)
    model.load_state_dict(tensors, strict=True)
    counts = {name: int(metadata[name]) for name in ("seed", "step", "tokens")}
    return Checkpoint(model.eval().requires_grad_(False), found, **counts)


def seed_names(arm: ArmSpec, seed: int) -> dict[str, str]:
    """The named random streams of a seed: what draws the weights, and what orders the data.

    Arms of one task share a seed's data order, so that their differences are paired.
    """
    start = arm.starts_as or arm.arm
    return {"init": f"init/{start}/{seed}", "data": f"data/{arm.task}/{seed}", "evaluation": f"evaluation/{arm.task}"}
