"""Measures of the whole model, from its losses by token index.

Losses are in nats; entry i of a row is the loss of predicting token index i + 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from reinduce.config.specs import IndexPair
from reinduce.model.transformer import Transformer, token_losses

CHUNK = 32
"""Sequences a forward pass: enough to fill a core, few enough to stay in its cache."""


@torch.no_grad()
def heldout_losses(model: Transformer, tokens_BT: Tensor) -> Tensor:
    """Loss of every predicted token [B T-1]."""
    return torch.cat([token_losses(model(chunk)[0], chunk) for chunk in tokens_BT.split(CHUNK)])


def by_index(losses_BT1: Tensor, classes: dict[str, Tensor]) -> Iterator[tuple[str, int, float, int]]:
    """(token class, token index, mean loss, tokens counted); indices where a class is empty are left out.

    `classes` maps a name to which predicted tokens belong to it [B T-1].
    """
    for name, member in classes.items():
        counts = member.sum(dim=0)
        means = (losses_BT1.double() * member).sum(dim=0) / counts.clamp(min=1)
        for i, (mean, count) in enumerate(zip(means.tolist(), counts.tolist(), strict=True)):
            if count:
                yield name, i + 1, mean, count


def derivative_by_log_index(losses_BT1: Tensor, low: int, high: int) -> float:
    """Slope of mean loss by the natural log of the token index, least squares over [low, high]."""
    means = losses_BT1.double().mean(dim=0)[low - 1 : high]
    log_index = torch.arange(low, low + len(means)).double().log()
    centred = log_index - log_index.mean()
    return ((centred * means).sum() / (centred * centred).sum()).item()


def repeat_loss(losses_BT1: Tensor, period: int) -> float:
    """Mean loss on the second and later repeats of a repeated random sequence.

    The first token of a repeat is predicted too: the order of repeats is the same.
    """
    return losses_BT1[:, period:].double().mean().item()


def repeat_gain(losses_BT1: Tensor, period: int) -> float:
    """How much better later repeats of a random sequence are predicted than the first, in nats a token.

    What a model does with a repeat, however it does it: defined without heads too.
    """
    return losses_BT1[:, :period].double().mean().item() - repeat_loss(losses_BT1, period)


def spread_over_documents(losses_BT1: Tensor, pair: IndexPair) -> float:
    """Standard deviation over documents of their own in-context scores, in nats.

    Over the root of the number of documents it is the score's standard error.
    """
    late, early = (losses_BT1[:, low - 1 : high].double().mean(dim=1) for low, high in (pair.late, pair.early))
    return (late - early).std().item()
