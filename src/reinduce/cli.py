"""The command line: one command for each stage. Rules run these commands, and logs repeat them for use by hand."""

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
from typing import TYPE_CHECKING, cast

from reinduce import studies
from reinduce.commands import COMMANDS, JOB_SEPARATOR, stage_module
from reinduce.trace import chain

if TYPE_CHECKING:
    from importlib.abc import Loader

USER_ERRORS = (ValueError, OSError)
"""Errors that a user can fix; they print one line. Internal errors print a traceback."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command, `reinduce COMMAND JOB [+ JOB …]`.

    Args:
        arguments: the command and its arguments; None: those of this process.

    Returns:
        The exit status: 0 done, 2 bad input, 3 evidence that was refused.
    """
    own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    command, *jobs = parse_arguments(arguments)
    module, _ = COMMANDS[command]
    keep_freed_memory()
    if own_process and not module.startswith("reinduce.report"):
        sys.meta_path.insert(0, BlockPandasImport)
    try:
        with log_messages(jobs[0].log):
            return run(command, jobs)
    except OSError as error:
        # The log file cannot be written.
        print(f"reinduce {command}: {format_user_error(error)}", file=sys.stderr)
        return 2


def run(command: str, jobs: list[argparse.Namespace]) -> int:
    """Run the jobs of a command and write their manifests.

    Args:
        command: a key of COMMANDS.
        jobs: the parsed arguments of each job.

    Returns:
        The exit status, as `main` returns it.

    Raises:
        SystemExit: with status 1, after an internal error; its traceback is logged.
    """
    module, _ = COMMANDS[command]
    started = time.time()
    try:
        studies.add_folders(jobs[0].studies)
        if "torch" in sys.modules:
            # Several one-thread processes are far faster than one with several threads.
            sys.modules["torch"].set_num_threads(1)
        outputs = getattr(importlib.import_module(module), f"run_{command}")(*jobs)
        if outputs:
            from reinduce.trace.manifest import remove_scratch, write_manifest

            outputs = outputs if isinstance(outputs, list) else [outputs]
            for each in outputs:
                write_manifest(each, stage_module(command), started, jobs[0].rule)
            remove_scratch(outputs)
    except USER_ERRORS as error:
        logging.error("reinduce %s: %s", command, format_user_error(error))
        return 2
    except chain.Refused as refused:
        logging.error("reinduce %s: %s", command, refused)
        return chain.EXIT_REFUSED
    except Exception:
        logging.error("%s", traceback.format_exc())
        raise SystemExit(1) from None
    return 0


def format_user_error(error: Exception) -> str:
    """Format an error as a line: what happened to which file, and what the user can do."""
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


class BlockPandasImport:
    """An import finder that refuses to import pandas, which pyarrow would import with its first array.

    The import takes a third of a second in every job, and only figures use pandas. `importlib.util.find_spec`, which
    torch's compiler calls, still finds a specification.
    """

    @classmethod
    def find_spec(cls, name, path=None, target=None) -> ModuleSpec | None:
        """Return a specification for pandas that cannot be loaded; None for other modules."""
        return ModuleSpec(name, cast("Loader", cls)) if name == "pandas" else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Refuse to load pandas."""
        raise ModuleNotFoundError("only figures may import pandas", name=spec.name)

    @staticmethod
    def exec_module(module) -> None:
        """Do nothing: the import system requires this method, and never calls it after `create_module` fails."""


def keep_freed_memory() -> None:
    """Keep freed memory in this process instead of returning it to the system page by page.

    Every forward pass frees and allocates the same few megabytes. Without this, the system clears their pages each
    time, which took a fifth of the time of scoring.
    """
    with contextlib.suppress(AttributeError, OSError):  # Only the GNU C library has these settings.
        mallopt = ctypes.CDLL(None).mallopt
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # names of malloc.h
        for setting, size in ((M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 26), (M_MMAP_THRESHOLD, 1 << 25)):
            mallopt(setting, size)


def parse_arguments(arguments: list[str]) -> tuple[str, *tuple[argparse.Namespace, ...]]:
    """Parse the arguments of a command.

    Args:
        arguments: the command, then the arguments of its jobs with JOB_SEPARATOR between them.

    Returns:
        The command and the parsed arguments of each job.
    """
    grouped = itertools.groupby(arguments, JOB_SEPARATOR.__eq__)
    first, *others = [list(part) for is_separator, part in grouped if not is_separator] or [[]]
    job = build_parser(first).parse_args(first)
    return job.command, job, *(build_parser([job.command]).parse_args([job.command, *part]) for part in others)


def build_parser(arguments: list[str]) -> argparse.ArgumentParser:
    """Build the parser with the arguments of the called command only, since it imports that command's module."""
    parser = argparse.ArgumentParser(prog="reinduce", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--studies", type=Path, nargs="+", default=[], help="further folders that hold studies")
        command.add_argument("--log", type=Path, help="a file for all messages of this command")
        command.add_argument(
            "--rule", nargs="+", metavar="NAME", help="the rule that runs this command, and its wildcards"
        )
        if name in arguments[:1]:
            getattr(importlib.import_module(module), f"add_{name}_arguments")(command)
    return parser


class LogFile(logging.FileHandler):
    """A log file that drops messages it cannot write, as on a full disk; standard error has them too."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def shares_log() -> bool:
    """Return whether this is one of several processes that share a command, and its log."""
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_STEP_NUM_NODES", 1)) > 1


@contextlib.contextmanager
def log_messages(path: Path | None):
    """Write messages to standard error, and to a file if there is one."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(LogFile(path, mode="a" if shares_log() else "w"))
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
