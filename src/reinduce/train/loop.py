"""Train one seed of an arm, from the start or from where it was interrupted."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.job_specs import ArmSpec, digest, stream_seed
from reinduce.model.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from reinduce.model.intervention_checks import check_interventions
from reinduce.model.transformer import Transformer, training_losses
from reinduce.train.accumulator import GradientAccumulator
from reinduce.train.compiled import LossFunction
from reinduce.train.optimizer import AdamW, learning_rate
from reinduce.train.preemption import NEVER_STOP, Preempted, StopRequest
from reinduce.train.processes import SINGLE_PROCESS, ProcessGroup
from reinduce.train.progress import Progress
from reinduce.train.resume import load_state, publish_checkpoints, save_state


def train(
    arm: ArmSpec,
    seed: int,
    batch: Callable[[int, int], Tensor],
    folder: Path,
    device: str = "cpu",
    features: Tensor | None = None,
    source_checkpoint: Path | None = None,
    loss_function: LossFunction = training_losses,
    group: ProcessGroup = SINGLE_PROCESS,
    stop: StopRequest = NEVER_STOP,
    fingerprint: str = "",
) -> dict[str, Tensor]:
    """Train to the last step and leave the checkpoints in `folder`/checkpoints.

    A run resumed from `folder`/resume ends in the same bytes as one that was never interrupted. No
    incomplete checkpoint is ever in `folder`/checkpoints. `folder`/resume stays until the caller removes it.

    Args:
        arm: the arm's specification.
        seed: the replicate.
        batch: gives tokens [n T] for a step and n; they must depend on the step alone.
        folder: where files go. Of several processes the first one alone writes.
        device: cpu, or e.g. cuda:0.
        features: the vectors [N F] of the token ids from the vocabulary's size on, if there are any.
        source_checkpoint: the checkpoint whose layers are grafted, for an arm with a graft.
        loss_function: `training_losses`, or its compiled form.
        group: the processes that share each batch; their number must divide that of the batch's parts.
        stop: true once training must stop.
        fingerprint: identifies data, sources and versions; a state with another one is not resumed.

    Returns:
        The log: loss (nats) and gradient norm of every step.

    Raises:
        Preempted: when `stop` is true; the state is saved.
        ValueError: if a loss is not finite, the arm's clamps contradict each other, or the processes
            cannot share a batch.
    """
    spec, saved = arm.train, Path(folder) / "resume"
    model = Transformer(arm.model).init_weights(stream_seed("init", arm.init_from_arm or arm.arm, seed)).to(device)
    if arm.graft is not None:
        graft_layers(model, arm.graft.layer, load_checkpoint(source_checkpoint).model)
    if features is not None:
        model.set_features(features)
    # Clamps that contradict each other stop a training before it begins.
    first = batch(0, 1).to(device)[:, : arm.model.n_ctx]
    check_interventions(arm.model, model.clamps(first), (), *first.shape)
    optimizer = AdamW(spec, model)
    history = {name: torch.zeros(spec.steps, device=device) for name in ("loss", "gradient_norm")}
    fingerprint = digest({"arm": digest(arm), "fingerprint": fingerprint})
    done = torch.tensor(load_state(saved, fingerprint, optimizer, history) if group.rank == 0 else 0, device=device)
    group.broadcast([done, *optimizer.state.values(), *history.values()])
    start = int(done)
    kept = set(spec.checkpoints.steps(spec.steps))
    progress = Progress(f"{arm.study}/{arm.arm}/seed{seed}", start, spec.steps)
    accumulator = GradientAccumulator(spec, model, optimizer, loss_function, group)

    for step in range(start, spec.steps + 1):
        if group.rank == 0 and step in kept:
            tokens = step * spec.batch_size * (arm.model.n_ctx - 1)
            save_checkpoint(checkpoint_path(saved, step), Checkpoint(model, arm, seed, step, tokens))
        if step % spec.save_every == 0 or step == spec.steps:
            check_finite(history, step, progress.name)
            if group.rank == 0 and step > start:
                save_state(saved, fingerprint, step, optimizer, history)
        if step == spec.steps:
            break
        gradient, loss, stopping = accumulator.accumulate(batch(step, spec.batch_size).to(device), bool(stop))
        if stopping:
            # All processes stop at the same step, though one alone may have received the signal.
            if group.rank == 0:
                save_state(saved, fingerprint, step, optimizer, history)
            group.barrier()
            raise Preempted(f"{progress.name}: {stop.reason or 'another process stopped'}; saved at step {step}")
        history["loss"][step] = loss
        history["gradient_norm"][step] = optimizer.step(gradient, learning_rate(spec, step))
        progress.log(step + 1, loss, partial(check_finite, history, step + 1, progress.name))

    if group.rank == 0:
        publish_checkpoints(saved, Path(folder) / "checkpoints", sorted(kept))
    group.barrier()
    return history


@torch.no_grad()
def graft_layers(model: Transformer, layer: int, source: Transformer) -> None:
    """Copy another model's embeddings and its layers up to `layer`, and freeze them (Singh et al. 2024, grafts).

    Args:
        model: the model that receives them.
        layer: the last layer that is copied.
        source: the model that they come from.
    """
    weights = dict(source.named_parameters())
    for name, parameter in model.named_parameters():
        part = name.split(".")
        if part[0] in ("W_E", "W_F", "b_F", "W_pos") or (part[0] == "blocks" and int(part[1]) <= layer):
            parameter.copy_(weights[name])
            parameter.requires_grad_(False)


def check_finite(history: dict[str, Tensor], steps: int, name: str) -> None:
    """Check that the losses of the first `steps` are finite.

    Raises:
        ValueError: if one is not; the message names the training and the step.
    """
    wrong = (~history["loss"][:steps].isfinite()).nonzero()
    if len(wrong):
        raise ValueError(f"{name}: the loss is not finite at step {int(wrong[0])}; lower learning_rate or set clip")
