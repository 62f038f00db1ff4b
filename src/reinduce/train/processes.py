"""Training in several processes, on one machine or several.

Either all processes share one arm and seed, each computing parts of every batch, or several seeds are
dealt out, one to each process in turn. torch's own launcher (`torchrun`) starts, watches and ends them.
"""

import contextlib
import ctypes
import datetime
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from reinduce.config.job_specs import require

RENDEZVOUS_TIMEOUT = datetime.timedelta(minutes=5)
"""Longest time that launchers on several machines wait for each other."""
COLLECTIVE_TIMEOUT = datetime.timedelta(days=30)
"""Longest time that a process waits for another, which may have a far longer seed; if one dies, the launcher
ends all."""
LAUNCHER = "REINDUCE_LAUNCHER"
"""Environment variable with the launcher's process number, for the processes that it starts."""
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
"""Signals that the launcher forwards to its processes."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, seen from this one."""

    rank: int = 0
    size: int = 1

    def all_reduce(self, vector: Tensor) -> Tensor:
        """Sum a vector over all processes, in place, with the same bits in all.

        Neighbours add theirs, then pairs of neighbours, and so on: the summation order does not depend on the
        number of processes, if each begins with the sum of as many parts.

        Args:
            vector: this process's vector.

        Returns:
            The same tensor, with the sum.
        """
        distance = 1
        while distance < self.size:
            other, received = self.rank ^ distance, torch.empty_like(vector)
            exchange = [dist.P2POp(dist.isend, vector, other), dist.P2POp(dist.irecv, received, other)]
            with _report_lost_process():
                for work in dist.batch_isend_irecv(exchange):
                    work.wait()
            vector += received
            distance *= 2
        return vector

    def broadcast(self, tensors: list[Tensor]) -> None:
        """Copy the first process's values to all processes, in place."""
        if self.size > 1:
            with _report_lost_process():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Wait until all processes arrive here."""
        if self.size > 1:
            with _report_lost_process():
                dist.barrier()


@contextlib.contextmanager
def _report_lost_process() -> Iterator[None]:
    """Report in one line that another process ended; that process logged the reason."""
    try:
        yield
    except RuntimeError:
        raise ValueError("another process of this training ended; its own log lines state why") from None


SINGLE_PROCESS = ProcessGroup()


def is_worker() -> bool:
    """Return whether the launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def select_device(requested: str, processes: int = 1) -> str:
    """Select this process's device.

    Args:
        requested: cpu, gpu, or auto for a GPU where there is one.
        processes: processes on this machine; each needs a GPU of its own.

    Returns:
        'cpu', or e.g. 'cuda:1'.

    Raises:
        ValueError: if GPUs are requested and there are fewer than processes.
    """
    found = torch.cuda.device_count() if requested != "cpu" else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    require(
        requested != "gpu" or found >= processes,
        f"{processes} GPU{'s' * (processes > 1)} asked for, {found} found"
        + (f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else "")
        + "; ask the scheduler for as many (cluster.max_gpus_per_node), or train on processors (cluster.device: cpu)",
    )
    if found < processes:
        return "cpu"
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    torch.cuda.set_device(device)
    # The same sums in the same order each time, where a kernel for that exists.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return device


def join_process_group(expected: int, device: str) -> ProcessGroup:
    """Join the processes that the launcher started.

    Args:
        expected: how many there should be.
        device: this process's device.

    Returns:
        The group, seen from this process.

    Raises:
        ValueError: if another number of processes joined.
    """
    if expected == 1:
        return SINGLE_PROCESS
    _end_with_launcher()
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=COLLECTIVE_TIMEOUT)
    group = ProcessGroup(dist.get_rank(), dist.get_world_size())
    require(group.size == expected, f"{expected} processes were started, {group.size} joined")
    return group


def _end_with_launcher() -> None:
    """End this process as soon as the launcher is killed, so that it cannot write beside a new run."""
    with contextlib.suppress(AttributeError, OSError):  # Only Linux has this call.
        PR_SET_PDEATHSIG = 1  # name of sys/prctl.h
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have been killed before that call.
    if os.getppid() != int(os.environ.get(LAUNCHER, os.getppid())):
        os.kill(os.getpid(), signal.SIGKILL)


def check_started_once(nodes: int) -> None:
    """Check that the scheduler started this command once on each machine.

    A job that asks for tasks beside GPUs is started once for each GPU, and all would write the same files.

    Args:
        nodes: number of machines.

    Raises:
        ValueError: if it started the command more often.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    require(
        tasks in (1, nodes),
        f"SLURM started this command {tasks} times at once; ask for GPUs (gpu), never for tasks",
    )


def launch(arguments: list[str], processes: int, nodes: int) -> int:
    """Run `reinduce` in several processes.

    Args:
        arguments: of the command line.
        processes: processes on each machine.
        nodes: machines; more than one need a SLURM job that has them.

    Returns:
        The exit status. A process that fails logs the reason itself.

    Raises:
        ValueError: if several machines are wanted outside of a SLURM job.
    """
    if nodes > 1 and os.environ.get("SLURM_STEP_NUM_NODES") != str(nodes):
        return _launch_on_every_node(arguments, nodes)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings: dict[str, Any] = {"nproc_per_node": processes, "min_nodes": nodes, "max_nodes": nodes, "max_restarts": 0}
    settings |= {"signals_to_handle": SIGNALS, "monitor_interval": 0.1, "start_method": "spawn"}
    if nodes > 1:
        job, first = int(os.environ["SLURM_JOB_ID"]), os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        # A port that other jobs on this machine do not use.
        settings |= {"rdzv_backend": "static", "rdzv_endpoint": f"{first}:{20000 + job % 20000}", "run_id": str(job)}
        rank, timeout = int(os.environ["SLURM_NODEID"]), RENDEZVOUS_TIMEOUT.total_seconds()
        settings |= {"rdzv_configs": {"rank": rank, "timeout": timeout}}
    else:
        settings |= {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "run_id": f"reinduce-{os.getpid()}"}
    # The process that fails logs the reason; the launcher would add a page of its own.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(LaunchConfig(**settings), sys.executable)("-m", "reinduce", *arguments)
    except ChildFailedError as error:
        return max(failure.exitcode for failure in error.failures.values()) or 1
    except SignalException as error:
        return 128 + error.sigval
    return 0


def _launch_on_every_node(arguments: list[str], nodes: int) -> int:
    """Start this command once on each machine of the job."""
    srun = shutil.which("srun")
    require(srun is not None and "SLURM_JOB_ID" in os.environ, f"{nodes} machines need a SLURM job that has them")
    step = [srun, f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    return subprocess.run([*step, "reinduce", *arguments], check=False).returncode
