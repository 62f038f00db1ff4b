"""The optimizer: AdamW on all weights as one vector, and the learning-rate schedule."""

import itertools

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from reinduce.config.job_specs import TrainSpec
from reinduce.model.transformer import Transformer


def learning_rate(spec: TrainSpec, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then constant."""
    return spec.learning_rate * min(1.0, (step + 1) / max(1, spec.warmup))


class AdamW:
    """AdamW with weight decay on matrices only.

    All weights become parts of one vector, and so do gradients and moments: a step is one operation, not
    one for every weight. It calls torch's own function: building torch's class imports its compiler,
    which takes longer than a hundred steps of a small model.

    Args:
        spec: learning rate, betas, weight decay and clipping.
        model: the model; its trainable weights are moved into the vector.
    """

    ALIGNMENT = 16
    """Numbers in a cache line: matrix products are fastest, and reproducible, if weights begin on one."""

    def __init__(self, spec: TrainSpec, model: Transformer) -> None:
        self.spec = spec
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # Matrices first, so that the weights that decay are contiguous.
        matrices_first = sorted(self.parameters, key=lambda p: p.ndim < 2)
        padded = {p: -(-p.numel() // self.ALIGNMENT) * self.ALIGNMENT for p in matrices_first}
        self.matrices = sum(size for p, size in padded.items() if p.ndim >= 2)
        zeros = torch.zeros(sum(padded.values()), device=self.parameters[0].device)
        self.state = {name: zeros.clone() for name in ("weights", "first", "second")}
        # Matrices and the other weights count their steps separately: torch's function increments the counter.
        self.state["steps"] = torch.zeros(2, device=zeros.device)
        starts = dict(zip(padded, itertools.accumulate(padded.values(), initial=0), strict=False))
        self.spans = [(starts[p], starts[p] + p.numel()) for p in self.parameters]
        for parameter, (start, end) in zip(self.parameters, self.spans, strict=True):
            weight = self.state["weights"][start:end].view_as(parameter)
            weight.copy_(parameter.detach())
            parameter.data = weight

    @property
    def size(self) -> int:
        """Length of the vector of all weights."""
        return len(self.state["weights"])

    def write_gradient(self, loss: Tensor, out: Tensor) -> Tensor:
        """Write the gradient of a loss as one vector.

        Args:
            loss: a scalar.
            out: a vector of at least `size` numbers; its beginning is overwritten.

        Returns:
            `out`. Weights that the loss does not depend on, because of a clamp, have gradient zero.
        """
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for (start, end), gradient in zip(self.spans, gradients, strict=True):
            if gradient is None:
                out[start:end].zero_()
            else:
                out[start:end].view_as(gradient).copy_(gradient)
        return out

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> Tensor:
        """Update all weights.

        Args:
            gradient: of all weights [size]; clipped in place.
            rate: the learning rate.

        Returns:
            The gradient's norm before clipping, a scalar.
        """
        norm = gradient.norm()
        if self.spec.grad_clip_norm:
            gradient *= (self.spec.grad_clip_norm / (norm + 1e-6)).clamp(max=1)
        groups = ((0, self.matrices, self.spec.weight_decay), (self.matrices, len(gradient), 0.0))
        for steps, (start, end, decay) in zip(self.state["steps"], groups, strict=True):
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
