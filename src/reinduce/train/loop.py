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
from reinduce.model.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.model.transformer import Transformer, sequence_losses
from reinduce.task.evaluation import copyable

log = logging.getLogger(__name__)


def learning_rate(spec: TrainSpec, step: int) -> float:
    """Learning rate of a step: linear warm-up, then constant."""
    return spec.learning_rate * min(1.0, (step + 1) / max(1, spec.warmup))


class AdamW:
    """AdamW with weight decay on matrices only.

    The steps are torch's own function: building its class imports torch's compiler, which
    takes longer than a hundred steps of a small model.
    """

    KEPT = ("step", "exp_avg", "exp_avg_sq")

    def __init__(self, spec: TrainSpec, model: Transformer):
        self.spec = spec
        self.groups = [
            ([p for p in model.parameters() if p.ndim >= 2], spec.weight_decay),
            ([p for p in model.parameters() if p.ndim < 2], 0.0),
        ]
        self.state = {
            p: {"step": torch.zeros((), device=p.device)} | {key: torch.zeros_like(p) for key in self.KEPT[1:]}
            for p in model.parameters()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter by its gradient, at a learning rate."""
        for group, decay in self.groups:
            # A clamp may leave a parameter without use.
            parameters = [p for p in group if p.grad is not None]
            steps, exp_avgs, exp_avg_sqs = ([self.state[p][key] for p in parameters] for key in self.KEPT)
            adamw(
                parameters,
                [p.grad for p in parameters],
                exp_avgs,
                exp_avg_sqs,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=self.spec.betas[0],
                beta2=self.spec.betas[1],
                lr=rate,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )


def train(
    arm: ArmSpec,
    seed: int,
    batch: Callable[[int, int], Tensor],
    folder: Path,
    device: str = "cpu",
    features: Tensor | None = None,
    stop_after: int | None = None,
) -> dict[str, Tensor]:
    """Train to the last step and leave the checkpoints in `folder`/checkpoints.

    `batch(step, n)` gives tokens [n, T]; it depends on the step alone, so a run resumed
    from `folder`/resume ends in the same bytes as one that was never stopped. `features`:
    the vectors [N F] that tokens from the vocabulary on stand for, if there are any. Nothing
    half-made is ever in `folder`/checkpoints. `stop_after` leaves after that step, as an
    interruption would. Returns the log: loss and gradient norm of every step.
    """
    spec, saved = arm.train, Path(folder) / "resume"
    model = Transformer(arm.model).initialise(stream_seed("init", arm.arm, seed)).to(device)
    if features is not None:
        model.give_features(features)
    optim = AdamW(spec, model)
    history = {name: torch.zeros(spec.steps, dtype=torch.float64) for name in ("loss", "gradient_norm")}
    start = resume(saved, digest(arm), model, optim, history)
    kept = set(spec.checkpoints.steps(spec.steps))
    progress = Progress(f"{arm.study}/{arm.arm}/seed{seed}", start, spec.steps)

    for step in range(start, spec.steps + 1):
        if step in kept:
            tokens = step * spec.batch * (arm.model.context - 1)
            save_checkpoint(checkpoint_path(saved, step), Checkpoint(model, arm, seed, step, tokens))
        if step % spec.save_every == 0 and step > start:
            save_state(saved, digest(arm), step, model, optim, history)
        if step == spec.steps or step == stop_after:
            break
        tokens_BT = batch(step, spec.batch).to(device)
        losses = sequence_losses(model, tokens_BT)
        loss = (losses if spec.omit == "none" else losses[~copyable(tokens_BT)[:, 1:]]).mean()
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip or math.inf)
        optim.step(learning_rate(spec, step))
        history["loss"][step], history["gradient_norm"][step] = loss.item(), norm.item()
        if not math.isfinite(history["loss"][step]):
            raise ValueError(f"{progress.name}: the loss is not finite at step {step}; lower learning_rate or set clip")
        progress.tell(step + 1, history["loss"][step])

    if stop_after is None:
        publish(saved, Path(folder) / "checkpoints", sorted(kept))
    return history


def publish(saved: Path, checkpoints: Path, steps: list[int]) -> None:
    """Move finished checkpoints to where readers look, then forget the state for resuming."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    for step in steps:
        checkpoint_path(saved, step).replace(checkpoint_path(checkpoints, step))
    shutil.rmtree(saved)


def save_state(
    saved: Path, config: str, step: int, model: Transformer, optim: AdamW, history: dict[str, Tensor]
) -> None:
    """Write what an exact resume needs as one file."""
    tensors = {f"history.{name}": values for name, values in history.items()}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter
        for key, value in optim.state[parameter].items():
            tensors[f"{key}.{name}"] = value
    save_tensors(saved / "state.safetensors", tensors, {"config": config, "step": str(step)})


def resume(saved: Path, config: str, model: Transformer, optim: AdamW, history: dict[str, Tensor]) -> int:
    """Load the saved state, if there is one of this configuration; returns the step to go on from."""
    path = saved / "state.safetensors"
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    if metadata["config"] != config:
        log.warning("%s belongs to another configuration: training starts anew", path)
        return 0
    for name, values in history.items():
        values.copy_(tensors[f"history.{name}"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight.{name}"])
            optim.state[parameter] = {key: tensors[f"{key}.{name}"].clone().to(parameter.device) for key in AdamW.KEPT}
    log.info("resumed from step %s", metadata["step"])
    return int(metadata["step"])


class Progress:
    """Tells, every few seconds, how far a training is, how fast, and how long it will take."""

    def __init__(self, name: str, start: int, steps: int, seconds: float = 10.0):
        self.name, self.start, self.steps, self.seconds = name, start, steps, seconds
        self.began = self.told = time.monotonic()

    def tell(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.told < self.seconds and step < self.steps:
            return
        self.told = now
        rate = (step - self.start) / max(now - self.began, 1e-9)
        left = (self.steps - step) / rate
        log.info("%s  step %d/%d  loss %.3f  %.1f steps/s  %.0f s left", self.name, step, self.steps, loss, rate, left)
