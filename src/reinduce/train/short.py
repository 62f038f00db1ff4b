"""Losses of models that read a few tokens, compiled: their training is all overhead otherwise.

A step of the five-token model is some hundred tiny operations; compiled into a few loops
it is more than twice as fast (docs/benchmarks.md). Compiling takes as long as some
thousand steps and is kept by torch for other processes, so it is done for long runs alone.
"""

import functools
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from reinduce.config.specs import ArmSpec
from reinduce.model.transformer import SHORT, Transformer, sequence_losses

log = logging.getLogger(__name__)

Losses = Callable[[Transformer, Tensor], Tensor]

PAYS = 10_000
"""Steps of a process from which compiling pays: it takes some 15 s and saves less than 2 ms a step."""


def losses_for(arm: ArmSpec, steps: int) -> Losses:
    """`sequence_losses` for arms that a process trains for so many steps, compiled if asked for or where it pays."""
    pays = arm.model.context <= SHORT and steps >= PAYS
    wanted = pays if arm.train.compile is None else arm.train.compile
    return compiled() if wanted else sequence_losses


@functools.cache
def compiled() -> Losses:
    """`sequence_losses`, compiled when it is first called; as it is where that cannot be done."""
    made: Losses | None = None

    def losses(model: Transformer, tokens: Tensor) -> Tensor:
        nonlocal made
        if made is not None:
            return made(model, tokens)
        try:
            # Whether vectors can be used is otherwise tried out with a dozen small programs.
            made = torch.compile(sequence_losses, dynamic=False, options={"cpp.vec_isa_ok": True})
            return made(model, tokens)
        except Exception as error:  # No compiler, or one that fails in whatever way: nothing depends on it.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            log.warning("not compiled, training takes more than twice as long (needs a C++ compiler): %s", reason[0])
            made = sequence_losses
            return made(model, tokens)

    return losses
