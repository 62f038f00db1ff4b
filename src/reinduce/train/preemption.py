"""Preemption: when training must save its state and stop, by a signal or because the job's time is nearly over."""

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
"""Sent by a scheduler that needs the machine or whose time limit is reached, or by Ctrl-C."""
EXIT_STATUS = 75
"""Exit status of a command that stopped before its end and resumes when it is run again (EX_TEMPFAIL)."""
MIN_MARGIN_SECONDS, MAX_MARGIN_SECONDS = 20.0, 120.0
"""Bounds of the time before the job's end at which training stops. Writing a state of some gigabytes takes a while, and
Snakemake, which started the training, must still end before SLURM kills it."""


class Preempted(Exception):
    """Training stopped before its end with its state saved; running it again resumes it."""


class StopRequest:
    """True once training must stop.

    Args:
        deadline: when it must stop at the latest, in seconds of `time.monotonic`.
    """

    def __init__(self, deadline: float = float("inf")) -> None:
        self.deadline = deadline
        self.reason = ""
        """Why training must stop; empty while it may go on."""

    def on_signal(self, number: int, _frame: object) -> None:
        """Handle a signal: request the stop."""
        self.reason = self.reason or f"{signal.Signals(number).name} came"

    def __bool__(self) -> bool:
        if not self.reason and time.monotonic() > self.deadline:
            self.reason = "the job's time is nearly over"
        return bool(self.reason)


NEVER_STOP = StopRequest()


@contextlib.contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """Turn signals, and the end of a SLURM job's time, into a stop request while the block runs.

    Yields:
        The request.
    """
    stop = StopRequest(time.monotonic() + seconds_left())
    previous = {number: signal.signal(number, stop.on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def seconds_left() -> float:
    """Return the seconds until a SLURM job should stop; infinite outside of a job, or without a time limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return float("inf")
    end = ask_job_end(job)
    if end is None:
        # SLURM's own signal is still handled.
        return float("inf")
    left = end - time.time()
    margin = min(max(left / 10, MIN_MARGIN_SECONDS), MAX_MARGIN_SECONDS)
    # However short the job is, some of its time is for training: else its retries would never get on.
    return left - min(margin, left / 2)


def ask_job_end(job: str) -> float | None:
    """Return when a SLURM job's time is over, in Unix seconds; None without a time limit.

    A limit may be raised while the job waits, so the queue is asked; if it does not answer, as on a busy cluster, the
    job's environment holds the end as it was at the start.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
        return datetime.datetime.fromisoformat(answer).timestamp()
    with contextlib.suppress(KeyError, ValueError):
        return float(os.environ["SLURM_JOB_END_TIME"])
    return None
