"""Gradient accumulation: the gradient of a batch from its parts, in an order that no number of processes changes.

Shape suffixes: B batch, T position.
"""

from typing import Any

import torch
from torch import Tensor

from reinduce.config.job_specs import TrainSpec, require
from reinduce.model.transformer import Transformer
from reinduce.tasks.token_classes import completes_seen_bigram
from reinduce.train.compiled import LossFunction
from reinduce.train.optimizer import AdamW
from reinduce.train.processes import ProcessGroup


def check_divisible(spec: TrainSpec, processes: int) -> None:
    """Check that processes can share the parts of a batch.

    Raises:
        ValueError: if the number of parts is not a multiple of the number of processes.
    """
    require(
        spec.grad_accum_steps % processes == 0,
        f"{processes} processes cannot share a batch of {spec.grad_accum_steps} parts; "
        "set the arm's train.grad_accum_steps to a multiple",
    )


class GradientAccumulator:
    """Gradient and loss of a batch: each part's are computed separately, then added in pairs, and pairs of pairs.

    Each process takes neighbouring parts. The summation order does not depend on the number of processes,
    and so the weights are the same to the last bit.

    Args:
        spec: the number of parts, the precision, and which losses are masked.
        model: the model.
        optimizer: writes the gradient of each part.
        loss_function: `training_losses` or its compiled form.
        group: the processes that share a batch.

    Raises:
        ValueError: if the processes cannot share the parts.
    """

    def __init__(
        self, spec: TrainSpec, model: Transformer, optimizer: AdamW, loss_function: LossFunction, group: ProcessGroup
    ) -> None:
        check_divisible(spec, group.size)
        self.spec, self.model, self.optimizer = spec, model, optimizer
        self.loss_function, self.group = loss_function, group
        self.own_parts = spec.grad_accum_steps // group.size
        # The loss and the stop request are reduced together with the gradient.
        device = optimizer.state["weights"].device
        depth = self.own_parts.bit_length()
        self.buffers = [torch.zeros(optimizer.size + 2, device=device) for _ in range(depth)]
        dtype = {"float32": None, "bf16": torch.bfloat16}[spec.precision]
        self.autocast: dict[str, Any] = {"device_type": device.type, "dtype": dtype, "enabled": dtype is not None}

    def accumulate(self, tokens_BT: Tensor, stop: bool) -> tuple[Tensor, Tensor, bool]:
        """Compute the gradient of a batch's mean loss.

        Args:
            tokens_BT: token ids of the whole batch.
            stop: whether this process requests a stop.

        Returns:
            The gradient [size], valid until the next call; the mean loss in nats; and whether any process
            requests a stop.
        """
        counted = None if self.spec.loss_mask == "none" else ~completes_seen_bigram(tokens_BT)[:, 1:]
        sequences = len(tokens_BT) // self.spec.grad_accum_steps

        def write_part(number: int, out: Tensor) -> Tensor:
            rows = slice(number * sequences, (number + 1) * sequences)
            with torch.autocast(**self.autocast):
                losses = self.loss_function(self.model, tokens_BT[rows])
            kept = losses if counted is None else losses[counted[rows]]
            loss = kept.sum() / (losses.numel() * self.spec.grad_accum_steps if counted is None else counted.sum())
            out[-2] = loss.detach()
            self.optimizer.write_gradient(loss, out)
            return out

        def add_parts(first: int, parts: int, buffers: list[Tensor]) -> Tensor:
            if parts == 1:
                return write_part(first, buffers[0])
            left = add_parts(first, parts // 2, buffers)
            return left.add_(add_parts(first + parts // 2, parts // 2, buffers[1:]))

        total = add_parts(self.group.rank * self.own_parts, self.own_parts, self.buffers)
        if self.group.size == 1:
            return total[:-2], total[-2], stop
        total[-1] = stop
        self.group.all_reduce(total)
        return total[:-2], total[-2], bool(total[-1])
