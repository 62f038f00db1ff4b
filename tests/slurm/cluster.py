"""A temporary SLURM cluster on the loopback interface: real daemons, virtual nodes, fake GPUs and its own munge.

    with Cluster(tempfile.mkdtemp()) as cluster:
        subprocess.run(["sbatch", "--wrap", "hostname"], env=cluster.environment(), check=True)

It writes only to its folder, and leaves the logs there. It runs as root or as an ordinary user, and ends only processes
that it started.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("srun", "sbatch", "scancel", "scontrol", "squeue", "sinfo", "sacct")
# Prefixes of settings of a SLURM job or site in which the tests may run; this cluster must not see them.
FOREIGN = ("SLURM", "SBATCH_", "SALLOC_", "SCANCEL_", "SCONTROL_", "SQUEUE_", "SINFO_", "SACCT_")
LOOPBACK = "127.0.0.1"
# Short, because a socket's path has at most 107 characters and SLURM adds up to 40; no character that needs quotes.
FOLDER = re.compile(r"[\w./+-]{1,64}")
USABLE = {"idle", "mixed", "allocated", "completing"}
SEPARATOR = "\x1f"  # names and comments of jobs may hold any visible character


@dataclass(frozen=True)
class Job:
    """One line of squeue."""

    id: str
    name: str
    state: str
    comment: str
    workdir: str
    nodes: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether its state is final; a job that ends is COMPLETING until its node has cleaned up."""
        return self.state not in ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING")


def find_program(name: str) -> str | None:
    """Find a program; the PATH of an ordinary user often lacks the folders of the daemons."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def describe_missing_programs() -> str | None:
    """Return a sentence that names the missing programs of SLURM and munge; None if all are installed."""
    absent = [name for name in (*DAEMONS, *CLIENTS) if find_program(name) is None]
    hint = "Debian's packages: slurmctld slurmd slurm-client munge"
    return f"A SLURM cluster for tests needs {', '.join(absent)} ({hint})." if absent else None


def find_free_ports(count: int) -> list[int]:
    """Find ports without a listener; all stay open until the last is found, so that no two are equal."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def is_loopback(host: str) -> bool:
    """Return whether a host name resolves to the loopback address."""
    try:
        return socket.gethostbyname(host) == LOOPBACK
    except OSError:
        return False


def expand_nodes(nodes: str) -> tuple[str, ...]:
    """Expand SLURM's abbreviation of nodes: n[1-2,4] is n1, n2, n4."""
    parts = [part.partition("-") for part in nodes.strip().removeprefix("n").strip("[]").split(",") if part]
    return tuple(f"n{number}" for first, _, last in parts for number in range(int(first), int(last or first) + 1))


def wait_until(done: Callable[[], bool], seconds: float, gap: float = 0.1) -> bool:
    """Wait until a condition is true, and return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not (now := done()) and time.monotonic() < deadline:
        time.sleep(gap)
    return now


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; a zombie counts as ended, since its parent may be slow to collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send_signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to the processes that still run; psutil does not signal a process that has reused an id."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Cluster:
    """A controller and the nodes n1, n2, … in one folder."""

    def __init__(self, folder: Path | str, nodes: int = 2, gpus: int = 2, cpus: int = 8, memory: int = 16000) -> None:
        self.folder = Path(folder).absolute()
        if not FOLDER.fullmatch(str(self.folder)):
            raise ValueError(f"{self.folder}: SLURM needs a folder with a short and plain name ({FOLDER.pattern})")
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self.gpus, self.cpus, self.memory = gpus, cpus, memory
        self.startup_seconds = 30.0
        self.configuration = self.folder / "etc" / "slurm.conf"
        self.socket = self.folder / "run" / "munge"
        self.ports: dict[str, int] = {}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Cluster:
        """Start everything; return when every node accepts jobs."""
        if reason := describe_missing_programs():
            raise RuntimeError(reason)
        self._write()
        try:
            self._launch("munged")
            self._await("munged", self.socket.exists)
            for name in ("slurmctld", *self.nodes):
                self._launch(name)
            for node in self.nodes:
                self._await(node, lambda node=node: self._usable(node))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the daemons and the processes of their jobs; munge last, because the others communicate through it."""
        self._end(["slurmctld", *self.nodes], grace=2)
        self._end(["munged"], grace=2)

    def environment(self) -> dict[str, str]:
        """Return environment variables with which a subprocess uses this cluster and no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"
        return kept | {"PATH": path, "SLURM_CONF": str(self.configuration)}

    def run(self, *command: str) -> str:
        """Run a client command and return its output."""
        settings = {"env": self.environment(), "cwd": self.folder, "capture_output": True, "text": True, "timeout": 30}
        done = subprocess.run([str(self.folder / "bin" / command[0]), *command[1:]], **settings)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[Job]:
        """List every job that the controller keeps, which includes jobs that ended within the last hour."""
        table = self.run("squeue", "-h", "-r", "-t", "all", "-o", SEPARATOR.join(("%i", "%j", "%T", "%k", "%Z", "%N")))
        rows = [line.split(SEPARATOR) for line in table.splitlines()]
        return [Job(*row[:3], row[3].replace("(null)", ""), row[4], expand_nodes(row[5])) for row in rows]

    def cancel(self, job: str) -> None:
        """Cancel a job as its user would."""
        self.run("scancel", str(job))

    def wait_idle(self, seconds: float) -> None:
        """Wait until no job is pending, running or completing."""
        if not wait_until(lambda: not self.run("squeue", "-h"), seconds, gap=0.25):
            raise TimeoutError(f"after {seconds} s there are still jobs:\n{self.run('squeue')}")

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut would: its daemon, its steps and their processes."""
        self._end([node], grace=0)

    def revive_node(self, node: str) -> None:
        """Start a killed node again; return when it accepts jobs."""
        self._launch(node)
        self._await(node, lambda: self._listens(node))
        # A node that was down returns to service by itself (ReturnToService), a drained node does not.
        if "drain" in self._state(node):
            self.run("scontrol", "update", f"nodename={node}", "state=resume")
        self._await(node, lambda: self._usable(node))

    def _state(self, node: str) -> str:
        return self.run("sinfo", "-h", "-N", "-n", node, "-p", "cpu", "-o", "%T").strip()

    def _listens(self, node: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.ports[node])) == 0

    def _usable(self, node: str) -> bool:
        try:  # Check the port too, because the controller notices late that a node is gone.
            return self._state(node) in USABLE and self._listens(node)
        except RuntimeError:  # the controller does not answer yet
            return False

    def _launch(self, name: str) -> None:
        kind = "slurmd" if name in self.nodes else name
        run = self.folder / "run"
        options = {
            # munged otherwise refuses a parent folder that everyone may write to, such as the temporary folder.
            "munged": ["--foreground", "--force", "--num-threads=2", f"--socket={self.socket}"]
            + [f"--key-file={run / 'key'}", f"--pid-file={run / 'munged.pid'}", f"--seed-file={run / 'seed'}"],
            "slurmctld": ["-D", "-f", str(self.configuration)],
            "slurmd": ["-D", "-f", str(self.configuration), "-N", name],
        }[kind]
        with (self.folder / "log" / name).open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [str(find_program(kind)), *options],
                env=self.environment() | {"SLURMD_NODENAME": name},  # child processes inherit it: see _processes
                cwd=self.folder,
                start_new_session=True,  # a keyboard interrupt goes to the tests, which then stop the cluster
                **dict(stdin=subprocess.DEVNULL, stdout=log, stderr=log),
            )

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for a daemon; if one ends or this takes too long, raise an error with the ends of the logs."""

        def ended() -> list[str]:
            return [each for each, daemon in self.daemons.items() if daemon.poll() is not None]

        if wait_until(lambda: bool(ended()) or ready(), self.startup_seconds) and not ended():
            return
        logs = dict.fromkeys((*ended(), name, "slurmctld"))
        tails = [f"{each}: {line}" for each in logs for line in self._log(each)[-15:]]
        raise RuntimeError("\n".join([f"{name} did not start within {self.startup_seconds:g} s.", *tails]))

    def _log(self, name: str) -> list[str]:
        log = self.folder / "log" / name
        return log.read_text(errors="replace").splitlines() if log.exists() else []

    def _processes(self, names: list[str]) -> set[psutil.Process]:
        """Find the running processes of daemons and jobs: steps outlive the daemon, detached processes the step."""
        pids = {self.daemons[name].pid for name in names if name in self.daemons}
        # The title of a step overwrites its environment, but a step listens in the folder of its node.
        spools = tuple(f"{self.folder}/spool/{name}/" for name in names)
        pids |= {each.pid for each in psutil.net_connections("unix") if str(each.laddr).startswith(spools)}
        found: set[psutil.Process] = set()
        for process in psutil.process_iter(["environ"]):
            given = process.info["environ"] or {}  # None if it may not be read
            ours = given.get("SLURM_CONF") == str(self.configuration) and given.get("SLURMD_NODENAME") in names
            if ours or process.pid in pids:
                with suppress(psutil.NoSuchProcess):
                    found |= {process, *process.children(recursive=True)}
        return set(filter(is_alive, found))

    def _end(self, names: list[str], grace: float) -> None:
        """End daemons and their processes: SIGTERM if there is a grace period, then SIGKILL."""
        doomed = self._processes(names)
        if grace:
            send_signal(doomed, signal.SIGTERM)
            wait_until(lambda: not any(map(is_alive, doomed)), grace)

        def gone() -> bool:
            # Search again each time, because a process may start another during the search.
            left = set(filter(is_alive, doomed)) | self._processes(names)
            send_signal(left, signal.SIGSTOP)  # stop all first, or a step would still report how its job ended
            send_signal(left, signal.SIGKILL)
            return not left

        if not wait_until(gone, 10, gap=0.05):
            raise RuntimeError(f"{', '.join(names)}: processes outlived SIGKILL")
        for name in self.daemons.keys() & names:
            self.daemons.pop(name).wait()

    def _write(self) -> None:
        """Write all files of the cluster: configuration, key, devices, and wrappers of the client commands."""
        for each in ("bin", "etc", "run", "log", "state", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / each).mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        key = self.folder / "run" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        devices = [self.folder / "dev" / f"gpu{number}" for number in range(self.gpus)]
        for device in devices:
            # SLURM accepts only device files as GPUs. None is opened, and a link needs no privilege.
            device.unlink(missing_ok=True)
            device.symlink_to("/dev/null")
        gres = f"Name=gpu Type=fake File={','.join(map(str, devices))}\n" if devices else ""
        self.configuration.with_name("gres.conf").write_text(f"AutoDetect=off\n{gres}")
        self.ports = dict(zip(("slurmctld", *self.nodes), find_free_ports(1 + len(self.nodes)), strict=True))
        self.configuration.write_text(self._slurm_conf())
        for name in CLIENTS:
            # Within a job all SLURM_* variables may be missing, so PATH alone must lead to the cluster.
            wrapper = self.folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {find_program(name)} "$@"\n')
            wrapper.chmod(0o755)

    def _slurm_conf(self) -> str:
        host = socket.gethostname().partition(".")[0]
        user = pwd.getpwuid(os.getuid()).pw_name
        size = f"CPUs={self.cpus} RealMemory={self.memory}" + (f" Gres=gpu:fake:{self.gpus}" if self.gpus else "")
        # SLURM listens on one address only, that of the host's name.
        listen = "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if is_loopback(socket.gethostname()) else ""
        where = f"NodeHostname={host} NodeAddr={LOOPBACK}"
        nodes = [f"NodeName={node} {where} Port={self.ports[node]} {size}" for node in self.nodes]
        return f"""\
ClusterName=test
SlurmctldHost={host}({LOOPBACK})
SlurmctldPort={self.ports["slurmctld"]}
SlurmUser={user}
SlurmdUser={user}
# A job that lost its node may start again when its credential has expired.
AuthInfo=socket={self.socket},cred_expire=10
{listen}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldPidFile={self.folder}/run/slurmctld.pid
SlurmdPidFile={self.folder}/run/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu
SchedulerParameters=bf_interval=2,batch_sched_delay=0
# Nodes may have more CPUs and memory than this machine.
SlurmdParameters=config_overrides
ReturnToService=2
# Failures must show within seconds, and ended jobs must stay listed during a whole run.
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
{chr(10).join(nodes)}
PartitionName=cpu Nodes=ALL Default=YES DefaultTime=10 MaxTime=120
PartitionName=gpu Nodes=ALL DefaultTime=10 MaxTime=120
"""
