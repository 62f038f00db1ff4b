"""Jobs that a killed Snakemake left in the SLURM queue: they are ended before anything is submitted.

Snakemake keeps no list of its jobs. Started again, it would submit each a second time, and
both copies would write the same files. A training that is ended so saves its state first
and goes on from there; what had finished by itself is not made again.
"""

import fcntl
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

PREFIX = "reinduce"
"""How names of this workflow's jobs begin; the profile sets the same."""
PATIENCE = 180.0
"""Seconds in which an ended job must be gone: trainings save their state, nodes clean up."""


class QueueError(RuntimeError):
    """The queue could not be cleared."""


@dataclass(frozen=True)
class Job:
    """A job in the queue."""

    id: str
    what: str
    """Rule and wildcards."""


def end_orphans(folder: Path, strict: bool) -> TextIO | None:
    """End the jobs that an earlier run in this folder left behind, and wait until they are gone.

    Returns what must be kept as long as this run lives: it tells others that the jobs are now
    somebody's. While another run lives in the folder, nothing is ended. `strict`: whether a
    queue that cannot be seen is an error; else it is left alone, as where there is none.
    Raises QueueError.
    """
    claim = _claimed(folder)
    if claim is None:
        log.warning("another run lives in this folder: jobs in the queue are taken to be its own")
        return None
    try:
        left = orphans(folder)
        if left:
            log.warning(
                "ending %d jobs of an earlier run: %s", len(left), ", ".join(f"{j.id} ({j.what})" for j in left)
            )
            _ask("scancel", *(job.id for job in left))
            _wait_until_gone(folder)
    except QueueError as error:
        if strict:
            raise
        log.debug("%s", error)
    return claim


def orphans(folder: Path) -> list[Job]:
    """Jobs of this workflow, started from this folder, that wait, run or are being ended."""
    return [Job(number, what) for number, name, where, what in _queue() if _is_ours(name, where, folder)]


def _is_ours(name: str, where: str, folder: Path) -> bool:
    return name.startswith(f"{PREFIX}_") and Path(where).resolve() == folder.resolve()


def _queue() -> Iterator[list[str]]:
    told = _ask("squeue", "--me", "--noheader", "--format", "%i|%j|%Z|%k")
    return (line.split("|", 3) for line in told.splitlines() if line.count("|") >= 3)


def _ask(command: str, *arguments: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise QueueError(f"there is no {command} here: run this where jobs are submitted")
    try:
        return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
    except subprocess.TimeoutExpired:
        raise QueueError(f"{command} has not answered for a minute: try again later") from None
    except subprocess.CalledProcessError as error:
        raise QueueError(f"{command}: {error.stderr.strip()}") from None


def _wait_until_gone(folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while left := orphans(folder):
        if time.monotonic() > until:
            numbers = " ".join(job.id for job in left)
            raise QueueError(f"jobs {numbers} of an earlier run do not end; run `scancel {numbers}` and try again")
        time.sleep(1)


def _claimed(folder: Path) -> TextIO | None:
    """A lock on the folder, held as long as the file is open and gone with the process; None if another has it."""
    path = folder / ".snakemake" / "reinduce.lock"
    path.parent.mkdir(exist_ok=True)
    file = open(path, "w")  # noqa: SIM115 - kept open on purpose
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        # A file system without locks: Snakemake's own keeps two runs from the same files.
        pass
    file.write(f"{os.uname().nodename} {os.getpid()}\n")
    file.flush()
    return file
