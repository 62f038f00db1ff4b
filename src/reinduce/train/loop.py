"""Train one seed of an arm, from the start or from where it was interrupted."""

import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from reinduce.config.specs import ArmSpec, TrainSpec, digest, stream_seed
from reinduce.model.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from reinduce.model.sites import check_edits
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.model.transformer import Transformer, sequence_losses
from reinduce.task.evaluation import copyable

log = logging.getLogger(__name__)


def learning_rate(spec: TrainSpec, step: int) -> float:
    """Learning rate of a step: linear warm-up, then constant."""
    return spec.learning_rate * min(1.0, (step + 1) / max(1, spec.warmup))


class AdamW:
    """AdamW with weight decay on matrices only.

    All weights become parts of one vector, and so do gradients and moments: a step is one
    operation, not one for every weight. It is torch's own function: building torch's class
    imports its compiler, which takes longer than a hundred steps of a small model.
    """

    ALIGNED = 16
    """Numbers in a cache line: matrix products are fastest, and the same everywhere, if weights begin on one."""

    def __init__(self, spec: TrainSpec, model: Transformer):
        self.spec = spec
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # Matrices first, so that what decays is one stretch.
        matrices_first = sorted(self.parameters, key=lambda p: p.ndim < 2)
        room = {p: -(-p.numel() // self.ALIGNED) * self.ALIGNED for p in matrices_first}
        self.matrices = sum(size for p, size in room.items() if p.ndim >= 2)
        empty = torch.zeros(sum(room.values()), device=self.parameters[0].device)
        self.state = {name: empty.clone() for name in ("weights", "first", "second")}
        # Each stretch counts its own steps, as torch's function advances what it is given.
        self.state["steps"] = torch.zeros(2, device=empty.device)
        self.gradient, self.gradient_of = empty.clone(), {}
        start = 0
        for parameter, size in room.items():
            weight, self.gradient_of[parameter] = (
                vector[start : start + parameter.numel()].view_as(parameter)
                for vector in (self.state["weights"], self.gradient)
            )
            weight.copy_(parameter.detach())
            parameter.data = weight
            start += size

    @torch.no_grad()
    def step(self, loss: Tensor, rate: float) -> Tensor:
        """Move every weight by its part of the loss's gradient, at a learning rate; returns the gradient's norm.

        The norm is that before clipping. Weights that a clamp leaves without use have no gradient.
        """
        for parameter, found in zip(
            self.parameters, torch.autograd.grad(loss, self.parameters, allow_unused=True), strict=True
        ):
            self.gradient_of[parameter].copy_(found) if found is not None else self.gradient_of[parameter].zero_()
        gradient = self.gradient
        norm = gradient.norm()
        if self.spec.clip:
            gradient *= (self.spec.clip / (norm + 1e-6)).clamp(max=1)
        stretches = ((0, self.matrices, self.spec.weight_decay), (self.matrices, len(gradient), 0.0))
        for steps, (start, end, decay) in zip(self.state["steps"], stretches, strict=True):
            weights, first, second = (self.state[name][start:end] for name in ("weights", "first", "second"))
            adamw(
                [weights],
                [gradient[start:end]],
                [first],
                [second],
                [],
                [steps],
                fused=True,
                amsgrad=False,
                beta1=self.spec.betas[0],
                beta2=self.spec.betas[1],
                lr=rate,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )
        return norm


def train(
    arm: ArmSpec,
    seed: int,
    batch: Callable[[int, int], Tensor],
    folder: Path,
    device: str = "cpu",
    features: Tensor | None = None,
    donor: Path | None = None,
    losses_of: Callable[[Transformer, Tensor], Tensor] = sequence_losses,
    stop_after: int | None = None,
) -> dict[str, Tensor]:
    """Train to the last step and leave the checkpoints in `folder`/checkpoints.

    `batch(step, n)` gives tokens [n, T]; it depends on the step alone, so a run resumed
    from `folder`/resume ends in the same bytes as one that was never stopped. `features`:
    the vectors [N F] that tokens from the vocabulary on stand for, if there are any; `donor`:
    the checkpoint from which an arm with a graft takes it; `losses_of`: `sequence_losses`, or
    what makes the same faster. Nothing half-made is ever in `folder`/checkpoints. `stop_after`
    leaves after that step, as an interruption would. Returns the log: loss and gradient norm
    of every step.
    """
    spec, saved = arm.train, Path(folder) / "resume"
    model = Transformer(arm.model).initialise(stream_seed("init", arm.starts_as or arm.arm, seed)).to(device)
    if arm.graft is not None:
        take_over(model, arm.graft.layer, load_checkpoint(donor).model)
    if features is not None:
        model.give_features(features)
    # Clamps that contradict each other are told of before anything is trained.
    first = batch(0, 1).to(device)[:, : arm.model.context]
    check_edits(arm.model, model.clamps(first), (), *first.shape)
    optim = AdamW(spec, model)
    history = {name: torch.zeros(spec.steps, dtype=torch.float64) for name in ("loss", "gradient_norm")}
    start = resume(saved, digest(arm), optim, history)
    kept = set(spec.checkpoints.steps(spec.steps))
    progress = Progress(f"{arm.study}/{arm.arm}/seed{seed}", start, spec.steps)

    for step in range(start, spec.steps + 1):
        if step in kept:
            tokens = step * spec.batch * (arm.model.context - 1)
            save_checkpoint(checkpoint_path(saved, step), Checkpoint(model, arm, seed, step, tokens))
        if step % spec.save_every == 0 and step > start:
            save_state(saved, digest(arm), step, optim, history)
        if step == spec.steps or step == stop_after:
            break
        tokens_BT = batch(step, spec.batch).to(device)
        losses = losses_of(model, tokens_BT)
        loss = (losses if spec.omit == "none" else losses[~copyable(tokens_BT)[:, 1:]]).mean()
        norm = optim.step(loss, learning_rate(spec, step))
        history["loss"][step], history["gradient_norm"][step] = loss.item(), norm.item()
        if not math.isfinite(history["loss"][step]):
            raise ValueError(f"{progress.name}: the loss is not finite at step {step}; lower learning_rate or set clip")
        progress.tell(step + 1, history["loss"][step])

    if stop_after is None:
        publish(saved, Path(folder) / "checkpoints", sorted(kept))
    return history


@torch.no_grad()
def take_over(model: Transformer, layer: int, donor: Transformer) -> None:
    """Give a model the donor's embeddings and its layers up to `layer`, and train them no more.

    What these layers write is then what the donor wrote (Singh et al. 2024, grafts).
    """
    weights = dict(donor.named_parameters())
    for name, parameter in model.named_parameters():
        part = name.split(".")
        if part[0] in ("W_E", "W_F", "b_F", "W_pos") or (part[0] == "blocks" and int(part[1]) <= layer):
            parameter.copy_(weights[name])
            parameter.requires_grad_(False)


def publish(saved: Path, checkpoints: Path, steps: list[int]) -> None:
    """Move finished checkpoints to where readers look, then forget the state for resuming."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    for step in steps:
        checkpoint_path(saved, step).replace(checkpoint_path(checkpoints, step))
    shutil.rmtree(saved)


def save_state(saved: Path, config: str, step: int, optim: AdamW, history: dict[str, Tensor]) -> None:
    """Write what an exact resume needs as one file."""
    tensors = optim.state | {f"history.{name}": values for name, values in history.items()}
    save_tensors(saved / "state.safetensors", tensors, {"config": config, "step": str(step)})


def resume(saved: Path, config: str, optim: AdamW, history: dict[str, Tensor]) -> int:
    """Load the saved state, if there is one of this configuration; returns the step to go on from."""
    path = saved / "state.safetensors"
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    if metadata["config"] != config:
        log.warning("%s belongs to another configuration: training starts anew", path)
        return 0
    for name, values in (optim.state | {f"history.{name}": values for name, values in history.items()}).items():
        values.copy_(tensors[name])
    log.info("resumed from step %s", metadata["step"])
    return int(metadata["step"])


class Progress:
    """Tells, every few seconds, how far a training is, how fast, and how long it will take."""

    def __init__(self, name: str, start: int, steps: int, seconds: float = 10.0):
        self.name, self.start, self.steps, self.seconds = name, start, steps, seconds
        self.began = self.told = time.monotonic()

    def tell(self, step: int, loss: float) -> None:
        now = time.monotonic()
        # The first step may have waited for a compiler: a rate made of it would say nothing.
        if (now - self.told < self.seconds or step - self.start < 10) and step < self.steps:
            return
        self.told = now
        rate = (step - self.start) / max(now - self.began, 1e-9)
        left = (self.steps - step) / rate
        log.info("%s  step %d/%d  loss %.3f  %.1f steps/s  %.0f s left", self.name, step, self.steps, loss, rate, left)
