"""Several processes that train together, on one machine or several.

One arm and seed is shared by all of them, part by part of each batch; several are dealt out,
one to each process in turn. The processes are started, watched and ended by torch's own
launcher (`torchrun`).
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

import torch
import torch.distributed as dist
from torch import Tensor

from reinduce.config.specs import require

PATIENCE = datetime.timedelta(minutes=5)
"""How long launchers on several machines wait for each other."""
LONGEST = datetime.timedelta(days=30)
"""How long a process waits for another, which may have a far longer seed; if one dies, the launcher ends all."""
LAUNCHER = "REINDUCE_LAUNCHER"
"""Tells the processes who started them."""
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
"""What the launcher hands on to its processes."""


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    def total(self, vector: Tensor) -> Tensor:
        """The sum of all processes' vectors, in place and the same bits in all.

        Neighbours add theirs, then pairs of neighbours, and so on: the order of additions does
        not depend on how many processes there are, if each begins with the sum of as many parts.
        """
        distance = 1
        while distance < self.size:
            other, received = self.rank ^ distance, torch.empty_like(vector)
            exchange = [dist.P2POp(dist.isend, vector, other), dist.P2POp(dist.irecv, received, other)]
            with _others_alive():
                for work in dist.batch_isend_irecv(exchange):
                    work.wait()
            vector += received
            distance *= 2
        return vector

    def follow(self, tensors: list[Tensor]) -> None:
        """Give all processes the first one's values, in place."""
        if self.size > 1:
            with _others_alive():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            with _others_alive():
                dist.barrier()


@contextlib.contextmanager
def _others_alive() -> Iterator[None]:
    """Says in a line that another process is gone; why, it said itself."""
    try:
        yield
    except RuntimeError:
        raise ValueError("another process of this training ended; see what it said") from None


ALONE = Team()


def within() -> bool:
    """Whether this process was started by the launcher."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def device_of(asked: str, processes: int = 1) -> str:
    """This process's device: 'cpu', or e.g. 'cuda:1' of as many GPUs as a machine has processes.

    `asked`: cpu, gpu, or auto for a GPU where there is one. Raises ValueError if there are fewer.
    """
    seen = torch.cuda.device_count() if asked != "cpu" else 0
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    require(
        asked != "gpu" or seen >= processes,
        f"{processes} GPU{'s' * (processes > 1)} asked for, {seen} found"
        + (f" (CUDA_VISIBLE_DEVICES={given})" if given is not None else "")
        + "; ask the scheduler for as many (cluster.devices), or train on processors (cluster.device: cpu)",
    )
    if seen < processes:
        return "cpu"
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    torch.cuda.set_device(device)
    # The same sums in the same order each time, where a kernel for that exists.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return device


def join(expected: int, device: str) -> Team:
    """This process's place among `expected` ones.

    Raises ValueError if another number came up.
    """
    if expected == 1:
        return ALONE
    _end_with_launcher()
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=LONGEST)
    team = Team(dist.get_rank(), dist.get_world_size())
    require(team.size == expected, f"{expected} processes asked for, {team.size} came up")
    return team


def _end_with_launcher() -> None:
    """End this process at once when the launcher is killed: nobody would end it before a new run begins to write."""
    with contextlib.suppress(AttributeError, OSError):  # Linux alone has it.
        PR_SET_PDEATHSIG = 1  # name of sys/prctl.h
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have been killed before.
    if os.getppid() != int(os.environ.get(LAUNCHER, os.getppid())):
        os.kill(os.getpid(), signal.SIGKILL)


def check_started_once(nodes: int) -> None:
    """Raise ValueError if the scheduler runs this command more often than once on each of its machines.

    A job that asks for tasks beside GPUs is started once for each GPU, and all would write the same files.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    require(
        tasks in (1, nodes),
        f"SLURM started this command {tasks} times at once; ask for GPUs (gpu), never for tasks",
    )


def start(arguments: list[str], processes: int, nodes: int) -> int:
    """Run `reinduce` with these arguments in `processes` processes on each of `nodes` machines.

    On several machines it must run in a SLURM job that has them. Returns an exit status; what
    went wrong was said by the process that it happened to.
    """
    if nodes > 1 and os.environ.get("SLURM_STEP_NUM_NODES") != str(nodes):
        return _on_every_node(arguments, nodes)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = {"nproc_per_node": processes, "min_nodes": nodes, "max_nodes": nodes, "max_restarts": 0}
    settings |= {"signals_to_handle": SIGNALS, "monitor_interval": 0.1, "start_method": "spawn"}
    if nodes > 1:
        job, first = int(os.environ["SLURM_JOB_ID"]), os.environ["SLURM_LAUNCH_NODE_IPADDR"]
        # A port that other jobs of this machine do not have.
        settings |= {"rdzv_backend": "static", "rdzv_endpoint": f"{first}:{20000 + job % 20000}", "run_id": str(job)}
        settings |= {"rdzv_configs": {"rank": int(os.environ["SLURM_NODEID"]), "timeout": PATIENCE.total_seconds()}}
    else:
        settings |= {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "run_id": f"reinduce-{os.getpid()}"}
    # What went wrong is said where it happened; the launcher would add a page of its own.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(LaunchConfig(**settings), sys.executable)("-m", "reinduce", *arguments)
    except ChildFailedError as error:
        return max(failure.exitcode for failure in error.failures.values()) or 1
    except SignalException as error:
        return 128 + error.sigval
    return 0


def _on_every_node(arguments: list[str], nodes: int) -> int:
    """Start this command once on each machine of the job."""
    srun = shutil.which("srun")
    require(srun is not None and "SLURM_JOB_ID" in os.environ, f"{nodes} machines need a SLURM job that has them")
    step = [srun, f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    return subprocess.run([*step, "reinduce", *arguments], check=False).returncode
