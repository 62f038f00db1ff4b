"""The command line: one command per stage, each run by one rule and by whoever copies it from a log."""

import argparse
import contextlib
import ctypes
import errno
import importlib
import itertools
import logging
import os
import sys
import time
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path

from reinduce.trace import chain

# command -> (module that holds it, what it does). Modules are imported only when asked
# for: a machine with torch and pyarrow alone can train, and judging needs no torch.
COMMANDS = {
    "check": ("reinduce.front_door", "check the whole configuration and say what it asks for"),
    "schemas": ("reinduce.config.command", "write the schemas of the configuration files"),
    "data": ("reinduce.data.command", "make a task's data and frozen evaluation sets"),
    "train": ("reinduce.train.command", "train seeds of an arm"),
    "score": ("reinduce.score.command", "measure every checkpoint of an arm's runs"),
    "series": ("reinduce.score.series", "components of all runs' per-token losses"),
    "ablate": ("reinduce.ablate.command", "ablate the heads of a run"),
    "attribute": ("reinduce.attribute.command", "attribute logits to the heads of a run"),
    "judge": ("reinduce.judge.command", "judge one claim"),
    "ledger": ("reinduce.judge.command", "join all verdicts in one table"),
    "figure": ("reinduce.report.command", "execute one figure's notebook"),
    "index": ("reinduce.report.command", "write the report's front page"),
    "show": ("reinduce.report.command", "print the ledger"),
    "trace": ("reinduce.trace.command", "print where a claim's number comes from"),
    "replay": ("reinduce.replay.command", "run the workflow again in another folder and compare"),
    "crate": ("reinduce.trace.crate", "export a run as a Workflow Run RO-Crate"),
    "compare": ("reinduce.replay.command", "compare results with other results or with the reference"),
    "reference": ("reinduce.replay.command", "write the reference with which other runs are compared"),
}

FAULTS = (ValueError, OSError)
"""What a user can fix: printed in one line. Internal errors print a traceback."""

AND = "+"
"""Stands between jobs of one command that share a process: starting one takes longer than a short job."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command, `reinduce COMMAND JOB [+ JOB …]`; returns its exit status: 0 done, 2 bad input, 3 refused."""
    own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    command, *jobs = parsed(arguments)
    module, _ = COMMANDS[command]
    keep_freed_memory()
    if own_process and not module.startswith("reinduce.report"):
        sys.meta_path.insert(0, WithoutPandas)
    try:
        with logged(jobs[0].log):
            return run(command, jobs)
    except OSError as error:
        # The log itself cannot be written.
        print(f"reinduce {command}: {said(error)}", file=sys.stderr)
        return 2


def run(command: str, jobs: list[argparse.Namespace]) -> int:
    """Run a command's jobs and write their manifests; returns the exit status."""
    module, _ = COMMANDS[command]
    started = time.time()
    try:
        if "torch" in sys.modules:
            # Several one-thread processes are far faster than one with several threads.
            sys.modules["torch"].set_num_threads(1)
        made = getattr(importlib.import_module(module), f"run_{command}")(*jobs)
        if made:
            from reinduce.trace.manifest import remove_scratch, write_manifest

            made = made if isinstance(made, list) else [made]
            for one in made:
                write_manifest(one, sources_of(command), started, jobs[0].rule)
            remove_scratch(made)
    except FAULTS as error:
        logging.error("reinduce %s: %s", command, said(error))
        return 2
    except chain.Refused as refused:
        logging.error("reinduce %s: %s", command, refused)
        return chain.EXIT_REFUSED
    except Exception:
        logging.error("%s", traceback.format_exc())
        raise SystemExit(1) from None
    return 0


def said(error: Exception) -> str:
    """What happened, where, and what to do, in a line."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    advice = {
        errno.ENOSPC: "make room and run it again; nothing half-written is left",
        errno.EDQUOT: "make room within your quota and run it again; nothing half-written is left",
        errno.EACCES: "allow this user to write there, or set `results` to a folder that it may write to",
        errno.EPERM: "allow this user to write there, or set `results` to a folder that it may write to",
        errno.EROFS: "set `results` to a folder that can be written to",
        errno.ENOENT: "make it first, or give another",
    }.get(error.errno, "fix that and run it again")
    where = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{where or 'a file'}: {os.strerror(error.errno).lower()}; {advice}"


class WithoutPandas:
    """Imports no pandas: the first array that pyarrow makes would import it, if there is one.

    That is a third of a second in every job, and figures alone have a use for it. Whoever
    only asks whether there is one, as torch's compiler does, gets an answer.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, cls) if name == "pandas" else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        raise ModuleNotFoundError("pandas is for figures alone", name=spec.name)

    @staticmethod
    def exec_module(module) -> None:
        """Never reached; a loader must have it."""


def keep_freed_memory() -> None:
    """Let freed memory stay with this process instead of going back to the system page by page.

    Every forward pass frees and asks for the same few megabytes; the C library would fetch
    and clear their pages anew each time, which was a fifth of the time of scoring.
    """
    with contextlib.suppress(AttributeError, OSError):  # Only the GNU C library has these settings.
        mallopt = ctypes.CDLL(None).mallopt
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # names of malloc.h
        for setting, size in ((M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 26), (M_MMAP_THRESHOLD, 1 << 25)):
            mallopt(setting, size)


def parsed(arguments: list[str]) -> tuple[str, *tuple[argparse.Namespace, ...]]:
    """The command, and the arguments of each of its jobs."""
    parts = [list(part) for is_and, part in itertools.groupby(arguments, AND.__eq__) if not is_and] or [[]]
    first = parser(parts[0]).parse_args(parts[0])
    return first.command, first, *(parser([first.command]).parse_args([first.command, *part]) for part in parts[1:])


def parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser; the arguments of a command are only known once its module is imported."""
    made = argparse.ArgumentParser(prog="reinduce", description=__doc__.split("\n")[0])
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--log", type=Path, help="a file that gets everything this command says")
        command.add_argument("--rule", nargs="+", metavar="NAME", help="the rule that runs this, and its wildcards")
        if name in arguments[:1]:
            getattr(importlib.import_module(module), f"add_{name}_arguments")(command)
    return made


class LogFile(logging.FileHandler):
    """A log that goes without what a full disk does not take: standard error has it too."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def sources_of(command: str) -> str:
    """On whose imports a command's results depend: its module's package, or the module if others share that."""
    module, _ = COMMANDS[command]
    package = module.rpartition(".")[0]
    others = {other for other, _ in COMMANDS.values() if other.rpartition(".")[0] == package}
    return package if others == {module} else module


def started_by_another() -> bool:
    """Whether this is one of several processes that share a command's work, and its log."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_STEP_NUM_NODES", 1)) > 1


@contextlib.contextmanager
def logged(path: Path | None):
    """Say things on standard error, and into a file if there is one."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(LogFile(path, mode="a" if started_by_another() else "w"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.shutdown()


if __name__ == "__main__":
    sys.exit(main())
