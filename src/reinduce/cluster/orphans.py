"""Cancels the jobs that a killed Snakemake left in the SLURM queue, before Snakemake submits new ones.

Snakemake keeps no list of its jobs. After a restart it would submit each of them a second time, and both copies would
write the same files. A cancelled training saves its state, and its next job continues from there. Results of jobs
that finished in the meantime are kept.
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

log = logging.getLogger(__name__)

JOB_NAME_PREFIX = "reinduce"
"""The prefix of the names of this workflow's jobs; slurm/config.yaml sets the same one."""
MAX_WAIT_SECONDS = 180.0
"""How long cancelled jobs may take to end: trainings save their state, and nodes clean up."""


class QueueError(RuntimeError):
    """The queue could not be read or cleared."""


@dataclass(frozen=True)
class Job:
    """A job in the queue."""

    id: str
    comment: str
    """The rule and its wildcards."""


def cancel_orphan_jobs(folder: Path, strict: bool) -> bool:
    """Cancel the jobs that an earlier run in a folder left in the queue, and wait until they have ended.

    This process locks the folder until it ends. If another running workflow has locked it, the jobs in the queue
    belong to that workflow, and none is cancelled.

    Args:
        folder: the folder in which the workflow runs.
        strict: whether a queue that cannot be read is an error; otherwise it is ignored, as on machines without SLURM.

    Returns:
        True if this process has locked the folder.

    Raises:
        QueueError: if jobs do not end in time, or if `strict` and the queue cannot be read.
    """
    if not _lock_folder(folder):
        log.warning("another workflow is running in this folder; the jobs in the queue are left to it")
        return False
    try:
        jobs = list_orphan_jobs(folder)
        if jobs:
            names = ", ".join(f"{job.id} ({job.comment})" for job in jobs)
            log.warning("cancelling %d jobs of an earlier run: %s", len(jobs), names)
            _run_command("scancel", *(job.id for job in jobs))
            _wait_until_ended(folder)
    except QueueError as error:
        if strict:
            raise
        log.debug("%s", error)
    return True


def list_orphan_jobs(folder: Path) -> list[Job]:
    """List the jobs of this workflow that were submitted from a folder and are pending, running or ending.

    Raises:
        QueueError: if the queue cannot be read.
    """
    return [
        Job(number, comment)
        for number, name, workdir, comment in _read_queue()
        if name.startswith(f"{JOB_NAME_PREFIX}_") and Path(workdir).resolve() == folder.resolve()
    ]


def _read_queue() -> Iterator[list[str]]:
    """Yield the id, name, working directory and comment of each of this user's jobs."""
    table = _run_command("squeue", "--me", "--noheader", "--format", "%i|%j|%Z|%k")
    return (line.split("|", 3) for line in table.splitlines() if line.count("|") >= 3)


def _run_command(command: str, *arguments: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise QueueError(f"{command} is not installed here: run this on a machine that can submit jobs")
    try:
        return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
    except subprocess.TimeoutExpired:
        raise QueueError(f"{command} did not answer within a minute: try again later") from None
    except subprocess.CalledProcessError as error:
        raise QueueError(f"{command}: {error.stderr.strip()}") from None


def _wait_until_ended(folder: Path) -> None:
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while jobs := list_orphan_jobs(folder):
        if time.monotonic() > deadline:
            ids = " ".join(job.id for job in jobs)
            raise QueueError(f"jobs {ids} of an earlier run do not end; run `scancel {ids}` and try again")
        time.sleep(1)


def _lock_folder(folder: Path) -> bool:
    """Lock a file in the folder until this process ends; False if another process has locked it."""
    path = folder / ".snakemake" / "reinduce.lock"
    path.parent.mkdir(exist_ok=True)
    # A plain descriptor, which nothing closes before the process ends: closing it would release the lock.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    except OSError:
        # Some file systems have no locks. Snakemake's own lock still keeps two runs from the same files.
        pass
    os.ftruncate(file, 0)
    os.write(file, f"{os.uname().nodename} {os.getpid()}\n".encode())
    return True
