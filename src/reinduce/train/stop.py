"""When a training must save and leave: a signal came, or the job's time is nearly over."""

import contextlib
import datetime
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Sent by a scheduler that wants the machine back or whose time limit is reached, or by Ctrl-C."""
STATUS = 75
"""Exit status of a command that stopped before its end and goes on when it is run again (EX_TEMPFAIL)."""
MARGIN = 120.0
"""Seconds before the job's end at which to leave: a state of some gigabytes takes a while to write."""


class Stopped(Exception):
    """Training stopped before its end, with its state saved: run it again to go on."""


class Stop:
    """Whether it is time to leave, and why."""

    def __init__(self, deadline: float = float("inf")):
        """`deadline`: in seconds of `time.monotonic`."""
        self.deadline, self.why = deadline, ""

    def on_signal(self, number: int, _frame: object) -> None:
        self.why = self.why or f"{signal.Signals(number).name} came"

    def __bool__(self) -> bool:
        if not self.why and time.monotonic() > self.deadline:
            self.why = "the job's time is nearly over"
        return bool(self.why)


NEVER = Stop()


@contextlib.contextmanager
def listening() -> Iterator[Stop]:
    """A `Stop` that hears signals while the block runs."""
    stop = Stop(time.monotonic() + seconds_left())
    before = {number: signal.signal(number, stop.on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def seconds_left() -> float:
    """Seconds until a SLURM job should begin to leave; infinite outside of one, or without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return float("inf")
    try:
        asked = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
        left = (datetime.datetime.fromisoformat(told) - datetime.datetime.now()).total_seconds()
    except (OSError, subprocess.SubprocessError, ValueError):
        # SLURM's own signal is still heard.
        return float("inf")
    return left - min(MARGIN, left / 10)
