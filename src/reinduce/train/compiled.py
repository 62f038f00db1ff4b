"""Compiled losses for models that read a few tokens, whose training is otherwise dominated by overhead.

A step of the five-token model is about a hundred tiny operations; compiled into a few loops it is more
than twice as fast (docs/benchmarks.md). Compiling takes as long as some thousand steps, and torch caches
the result for other processes; only long trainings are therefore compiled.
"""

import functools
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from reinduce.config.job_specs import ArmSpec
from reinduce.model.attention import MAX_ELEMENTWISE_TOKENS
from reinduce.model.transformer import Transformer, training_losses

log = logging.getLogger(__name__)

LossFunction = Callable[[Transformer, Tensor], Tensor]
"""A function of a model and tokens [B T] that returns losses [B T-1] or [B 1], as `training_losses` does."""

MIN_STEPS_TO_COMPILE = 10_000
"""Fewest steps of a process for which compiling pays: it takes about 15 s and saves less than 2 ms a step."""


def choose_losses(arm: ArmSpec, steps: int) -> LossFunction:
    """Choose between `training_losses` and its compiled form.

    Args:
        arm: the arm; its `train.compile` decides if it is set.
        steps: training steps of this process.

    Returns:
        The compiled form if the arm asks for it or the training is long enough, else `training_losses`.
    """
    pays = arm.model.n_ctx <= MAX_ELEMENTWISE_TOKENS and steps >= MIN_STEPS_TO_COMPILE
    compile_it = pays if arm.train.compile is None else arm.train.compile
    return compiled_losses() if compile_it else training_losses


@functools.cache
def compiled_losses() -> LossFunction:
    """Return `training_losses` in a form that is compiled at its first call.

    Where compiling fails, the function logs a warning and continues without.
    """
    function: LossFunction | None = None

    def losses(model: Transformer, tokens: Tensor) -> Tensor:
        nonlocal function
        if function is not None:
            return function(model, tokens)
        try:
            # Otherwise the compiler tests with a dozen small programs whether vector instructions work.
            function = torch.compile(training_losses, dynamic=False, options={"cpp.vec_isa_ok": True})
            return function(model, tokens)
        except Exception as error:  # No compiler, or any failure of one: results do not depend on it.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            log.warning("not compiled, training takes more than twice as long (needs a C++ compiler): %s", reason[0])
            function = training_losses
            return function(model, tokens)

    return losses
