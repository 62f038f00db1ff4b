"""Progress of a training in the log."""

import logging
import time
from collections.abc import Callable

from torch import Tensor

log = logging.getLogger(__name__)


class Progress:
    """Logs every few seconds the step, the loss, the speed, and the time left.

    Args:
        name: of the training.
        start: the step that this process begins with.
        steps: the training's last step.
        seconds: least time between two lines.
    """

    def __init__(self, name: str, start: int, steps: int, seconds: float = 10.0) -> None:
        self.name, self.start, self.steps, self.seconds = name, start, steps, seconds
        self.began = self.last_logged = time.monotonic()

    def log(self, step: int, loss: Tensor, check: Callable[[], None]) -> None:
        """Log a line if it is time for one.

        Args:
            step: steps done.
            loss: the last step's loss, a scalar; reading it makes a GPU wait, so it is read only for a line.
            check: called before a line is logged.
        """
        now = time.monotonic()
        # The first step may include compiling, which would distort the rate.
        if (now - self.last_logged < self.seconds or step - self.start < 10) and step < self.steps:
            return
        check()
        self.last_logged = now
        rate = (step - self.start) / max(now - self.began, 1e-9)
        left, nats = (self.steps - step) / rate, loss.item()
        log.info("%s  step %d/%d  loss %.3f  %.1f steps/s  %.0f s left", self.name, step, self.steps, nats, rate, left)
