"""The command line: one command per stage, each run by one rule and by whoever copies it from a log."""

import argparse
import contextlib
import ctypes
import importlib
import logging
import os
import sys
import time
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path

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
    "ledger": ("reinduce.judge.command", "join all verdicts"),
    "figure": ("reinduce.report.command", "run one figure's notebook"),
    "index": ("reinduce.report.command", "write the report's front page"),
    "show": ("reinduce.report.command", "print the ledger"),
}

FAULTS = (ValueError, FileNotFoundError, PermissionError)
"""What a user can mend: told in one line. Anything else is our fault and shows where it happened."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 2 bad input."""
    own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parser(arguments).parse_args(arguments)
    module, _ = COMMANDS[args.command]
    keep_freed_memory()
    if own_process and not module.startswith("reinduce.report"):
        sys.meta_path.insert(0, WithoutPandas)
    with logged(args.log):
        started = time.time()
        try:
            if "torch" in sys.modules:
                # Several one-thread processes are far faster than one with several threads.
                sys.modules["torch"].set_num_threads(1)
            made = getattr(importlib.import_module(module), f"run_{args.command}")(args)
            if made is not None:
                from reinduce.trace.manifest import write_manifest

                for one in made if isinstance(made, list) else [made]:
                    write_manifest(one, module.split(".")[1], started)
        except FAULTS as error:
            logging.error("reinduce %s: %s", args.command, error)
            return 2
        except Exception:
            logging.error("%s", traceback.format_exc())
            raise SystemExit(1) from None
    return 0


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


def parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser; the arguments of a command are only known once its module is imported."""
    made = argparse.ArgumentParser(prog="reinduce", description=__doc__.split("\n")[0])
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--log", type=Path, help="a file that gets everything this command says")
        if name in arguments[:1]:
            getattr(importlib.import_module(module), f"add_{name}_arguments")(command)
    return made


@contextlib.contextmanager
def logged(path: Path | None):
    """Say things on standard error, and into a file if there is one."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w"))
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
