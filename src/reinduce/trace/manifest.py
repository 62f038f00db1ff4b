"""What made a folder of results: written beside them by every command."""

import hashlib
import importlib.metadata
import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reinduce.trace import sources
from reinduce.trace.files import sha256, write_text

LIBRARIES = ("torch", "pyarrow", "tokenizers", "duckdb", "scipy", "pandas", "matplotlib", "papermill", "snakemake")


@dataclass(frozen=True)
class Made:
    """What a stage's command reports when it is done."""

    manifest: Path
    """Where the manifest goes."""
    inputs: Iterable[Path]
    """Files read."""
    outputs: Iterable[Path]
    """Files written."""
    details: dict = field(default_factory=dict)
    """Whatever else a reader should know: seeds, settings, package versions."""
    scratch: Path | None = None
    """A folder of no more use once the manifest is written."""
    modules: Iterable[str] = ()
    """Modules that the stage found by name: those of the arm's task, metrics and interventions."""


def write_manifest(made: Made, module: str, started: float, rule: Sequence[str] | None = None) -> Path:
    """Write the manifest of a finished command; `module`: that of the command, `rule`: its name, then its wildcards.

    It holds volatile facts (time, host's processor, duration), so nothing may hash it.
    """
    root = sources.PACKAGE.parent.parent
    content = {
        "rule": rule[0] if rule else None,
        "wildcards": list(rule[1:]) if rule else [],
        "command": shlex.join(["reinduce", *sys.argv[1:]]),
        "inputs": _hashes(made.inputs),
        "outputs": _hashes(made.outputs),
        "details": made.details,
        "modules": [module, *made.modules],
        "source_digest": sources.digest(module, *made.modules),
        "commit": _git(root, "rev-parse", "HEAD"),
        "clean_tree": clean_tree(root),
        "lock_digest": _digest(root / "envs" / "lock.txt"),
        "python": platform.python_version(),
        "libraries": _versions(),
        "processor": platform.processor() or platform.machine(),
        "host": platform.node(),
        "process": _process(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
    }
    return write_text(made.manifest, json.dumps(content, indent=2, sort_keys=True) + "\n")


def forget_scratch(made: Iterable[Made]) -> None:
    """Remove what finished commands needed on their way alone."""
    for one in made:
        if one.scratch is not None:
            shutil.rmtree(one.scratch, ignore_errors=True)


def _process() -> dict:
    """What computed, in how many threads, and all that last digits depend on; for GPUs their driver."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {"threads": 1, "device": "cpu"}
    used = torch.cuda.is_initialized()
    facts = {
        "device": torch.cuda.get_device_name() if used else "cpu",
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    driver = Path("/proc/driver/nvidia/version")
    return facts | ({"driver": driver.read_text().splitlines()[0]} if driver.is_file() else {})


def _hashes(paths: Iterable[Path]) -> dict[str, dict]:
    unique = sorted({str(path) for path in paths})
    return {path: {"sha256": sha256(path), "bytes": Path(path).stat().st_size} for path in unique}


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def clean_tree(root: Path) -> bool:
    """Whether all that results are made from is as it was committed; not so where nothing is known of it."""
    return _git(root, "status", "--porcelain", "--", *sources.PARTS) == ""


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, or None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
