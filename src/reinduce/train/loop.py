"""Train one seed of an arm, from the start or from where it was interrupted."""

import itertools
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from reinduce.config.specs import ArmSpec, TrainSpec, digest, require, stream_seed
from reinduce.model.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from reinduce.model.sites import check_edits
from reinduce.model.tensors import load_tensors, save_tensors
from reinduce.model.transformer import Transformer, sequence_losses
from reinduce.tasks.token_classes import completes_seen_bigram
from reinduce.trace.files import atomic_write
from reinduce.train.processes import ALONE, Team
from reinduce.train.stop import NEVER, Stop, Stopped

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
        starts = dict(zip(room, itertools.accumulate(room.values(), initial=0), strict=False))
        self.places = [(starts[p], starts[p] + p.numel()) for p in self.parameters]
        for parameter, (start, end) in zip(self.parameters, self.places, strict=True):
            weight = self.state["weights"][start:end].view_as(parameter)
            weight.copy_(parameter.detach())
            parameter.data = weight

    @property
    def size(self) -> int:
        """Numbers in the vector of all weights."""
        return len(self.state["weights"])

    def gradient_of(self, loss: Tensor, into: Tensor) -> Tensor:
        """The gradient of a loss as one vector, written to the beginning of `into`.

        Weights that a clamp leaves without use have none.
        """
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for (start, end), one in zip(self.places, found, strict=True):
            if one is None:
                into[start:end].zero_()
            else:
                into[start:end].view_as(one).copy_(one)
        return into

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> Tensor:
        """Move every weight by its part of a gradient; returns the gradient's norm before clipping."""
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
                fused=self.spec.fused,
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
    team: Team = ALONE,
    stop: Stop = NEVER,
    made_of: str = "",
) -> dict[str, Tensor]:
    """Train to the last step and leave the checkpoints in `folder`/checkpoints.

    `batch(step, n)` gives tokens [n, T]; it depends on the step alone, so a run resumed
    from `folder`/resume ends in the same bytes as one that was never stopped. `features`:
    the vectors [N F] that tokens from the vocabulary on stand for, if there are any; `donor`:
    the checkpoint from which an arm with a graft takes it; `losses_of`: `sequence_losses`, or
    what makes the same faster; `team`: the processes that share each batch, as many as its
    parts or fewer: the first one alone writes; `made_of`: names data, sources and versions: a
    state made of others is not resumed. Nothing half-made is ever in `folder`/checkpoints;
    `folder`/resume stays until whoever uses them removes it. Raises Stopped, with the state
    saved, when `stop` says so. Returns the log: loss and gradient norm of every step.
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
    history = {name: torch.zeros(spec.steps, device=device) for name in ("loss", "gradient_norm")}
    made_of = digest({"arm": digest(arm), "made_of": made_of})
    start = torch.tensor(resume(saved, made_of, optim, history) if team.rank == 0 else 0, device=device)
    team.follow([start, *optim.state.values(), *history.values()])
    start = int(start)
    kept = set(spec.checkpoints.steps(spec.steps))
    progress = Progress(f"{arm.study}/{arm.arm}/seed{seed}", start, spec.steps)
    sums = Sums(spec, model, optim, losses_of, team)

    for step in range(start, spec.steps + 1):
        if team.rank == 0 and step in kept:
            tokens = step * spec.batch * (arm.model.context - 1)
            save_checkpoint(checkpoint_path(saved, step), Checkpoint(model, arm, seed, step, tokens))
        if step % spec.save_every == 0 or step == spec.steps:
            check_finite(history, step, progress.name)
            if team.rank == 0 and step > start:
                save_state(saved, made_of, step, optim, history)
        if step == spec.steps:
            break
        gradient, loss, leave = sums.of(batch(step, spec.batch).to(device), bool(stop))
        if leave:
            # All processes leave here, at the same step, though the signal may have come to one alone.
            if team.rank == 0:
                save_state(saved, made_of, step, optim, history)
            team.wait()
            raise Stopped(f"{progress.name}: {stop.why or 'another process stopped'}; saved at step {step}")
        history["loss"][step] = loss
        history["gradient_norm"][step] = optim.step(gradient, learning_rate(spec, step))
        progress.tell(step + 1, loss, lambda step=step: check_finite(history, step + 1, progress.name))

    if team.rank == 0:
        publish(saved, Path(folder) / "checkpoints", sorted(kept))
    team.wait()
    return history


def check_shared(spec: TrainSpec, processes: int) -> None:
    """Raise ValueError unless so many processes can share the parts of a batch."""
    require(
        spec.parts % processes == 0,
        f"{processes} processes cannot share a batch of parts: {spec.parts}; set the arm's train.parts to a multiple",
    )


class Sums:
    """Gradient and loss of a batch: of each part by itself, then added in pairs, and pairs of pairs.

    Processes take neighbouring parts. In whatever number they are, the same numbers are added
    in the same order, and so the weights come out the same to the last bit.
    """

    def __init__(self, spec: TrainSpec, model: Transformer, optim: AdamW, losses_of: Callable, team: Team):
        check_shared(spec, team.size)
        self.spec, self.model, self.optim, self.losses_of, self.team = spec, model, optim, losses_of, team
        self.own = spec.parts // team.size
        # The loss and the wish to stop travel with the gradient.
        like = optim.state["weights"]
        self.room = [torch.zeros(optim.size + 2, device=like.device) for _ in range(self.own.bit_length())]
        precision = {"float32": None, "bf16": torch.bfloat16}[spec.precision]
        self.precision = {"device_type": like.device.type, "dtype": precision, "enabled": precision is not None}

    def of(self, tokens_BT: Tensor, stop: bool) -> tuple[Tensor, Tensor, bool]:
        """Gradient [size], mean loss of a batch, and whether any process wants to stop."""
        counted = None if self.spec.omit == "none" else ~completes_seen_bigram(tokens_BT)[:, 1:]
        sequences = len(tokens_BT) // self.spec.parts

        def part(number: int, into: Tensor) -> Tensor:
            rows = slice(number * sequences, (number + 1) * sequences)
            with torch.autocast(**self.precision):
                losses = self.losses_of(self.model, tokens_BT[rows])
            kept = losses if counted is None else losses[counted[rows]]
            loss = kept.sum() / (losses.numel() * self.spec.parts if counted is None else counted.sum())
            into[-2] = loss.detach()
            self.optim.gradient_of(loss, into)
            return into

        def added(first: int, parts: int, room: list[Tensor]) -> Tensor:
            if parts == 1:
                return part(first, room[0])
            left = added(first, parts // 2, room)
            return left.add_(added(first + parts // 2, parts // 2, room[1:]))

        total = added(self.team.rank * self.own, self.own, self.room)
        if self.team.size == 1:
            return total[:-2], total[-2], stop
        total[-1] = stop
        self.team.total(total)
        return total[:-2], total[-2], bool(total[-1])


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


def check_finite(history: dict[str, Tensor], steps: int, name: str) -> None:
    """Raise ValueError if a loss of the first `steps` is not a number."""
    wrong = (~history["loss"][:steps].isfinite()).nonzero()
    if len(wrong):
        raise ValueError(f"{name}: the loss is not finite at step {int(wrong[0])}; lower learning_rate or set clip")


def publish(saved: Path, checkpoints: Path, steps: list[int]) -> None:
    """Put finished checkpoints where readers look, and leave them in `saved` too.

    A job that fails later loses what it had published: the next one publishes again.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    for step in steps:
        with atomic_write(checkpoint_path(checkpoints, step)) as aside:
            try:
                os.link(checkpoint_path(saved, step), aside)
            except OSError:
                # Not every file system has hard links.
                shutil.copyfile(checkpoint_path(saved, step), aside)


def save_state(saved: Path, made_of: str, step: int, optim: AdamW, history: dict[str, Tensor]) -> None:
    """Write what an exact resume needs as one file."""
    tensors = optim.state | {f"history.{name}": values for name, values in history.items()}
    save_tensors(saved / "state.safetensors", tensors, {"made_of": made_of, "step": str(step)})


def resume(saved: Path, made_of: str, optim: AdamW, history: dict[str, Tensor]) -> int:
    """Load the saved state, if there is one made of the same; returns the step to go on from."""
    path = saved / "state.safetensors"
    if not path.is_file():
        return 0
    tensors, metadata = load_tensors(path)
    if metadata.get("made_of") != made_of:
        log.warning("%s was made of other settings, data, sources or versions: training starts anew", path)
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

    def tell(self, step: int, loss: Tensor, check: Callable[[], None]) -> None:
        """`check` is called before something is told: reading a loss makes a GPU wait, and so is done rarely."""
        now = time.monotonic()
        # The first step may have waited for a compiler: a rate made of it would say nothing.
        if (now - self.told < self.seconds or step - self.start < 10) and step < self.steps:
            return
        check()
        self.told = now
        rate = (step - self.start) / max(now - self.began, 1e-9)
        left, told = (self.steps - step) / rate, loss.item()
        log.info("%s  step %d/%d  loss %.3f  %.1f steps/s  %.0f s left", self.name, step, self.steps, told, rate, left)
