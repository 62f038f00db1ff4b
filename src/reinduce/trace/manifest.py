"""Manifests: what each command read, wrote and ran with, written beside its results."""

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
from typing import Any

from reinduce.trace import sources
from reinduce.trace.files import sha256, write_text

LIBRARIES = ("torch", "pyarrow", "tokenizers", "duckdb", "scipy", "pandas", "matplotlib", "papermill", "snakemake")
"""Packages whose installed versions are recorded."""


@dataclass(frozen=True)
class StageOutputs:
    """What a stage's command read and wrote."""

    manifest: Path
    """Where the manifest goes."""
    inputs: Iterable[Path]
    """Files read."""
    outputs: Iterable[Path]
    """Files written."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further facts for readers, as JSON values: seeds, settings, package versions."""
    scratch: Path | None = None
    """A folder that is no longer needed once the manifest is written."""
    modules: Iterable[str] = ()
    """Modules that the stage found by name: those of the arm's task, metrics and interventions."""


def write_manifest(stage_outputs: StageOutputs, module: str, started: float, rule: Sequence[str] | None = None) -> Path:
    """Write the manifest of a finished command.

    A manifest holds volatile facts (time, processor of the host, duration), so no digest may include it.

    Args:
        stage_outputs: Files read and written.
        module: The module whose sources determine the results, e.g. 'reinduce.score.command'.
        started: When the command started, in seconds since 1970.
        rule: The Snakemake rule's name, then its wildcards; None if a person ran the command.

    Returns:
        The manifest's path.

    Raises:
        OSError: A file named as input or output cannot be read, or the manifest cannot be written.
    """
    root = sources.PACKAGE.parent.parent
    content = {
        "rule": rule[0] if rule else None,
        "wildcards": list(rule[1:]) if rule else [],
        "command": shlex.join(["reinduce", *sys.argv[1:]]),
        "inputs": _hash_files(stage_outputs.inputs),
        "outputs": _hash_files(stage_outputs.outputs),
        "details": stage_outputs.details,
        "modules": [module, *stage_outputs.modules],
        "source_digest": sources.digest(module, *stage_outputs.modules),
        "commit": _run_git(root, "rev-parse", "HEAD"),
        "clean_tree": is_tree_clean(root),
        "lock_digest": _digest_file(root / "envs" / "lock.txt"),
        "python": platform.python_version(),
        "libraries": _find_versions(),
        "processor": platform.processor() or platform.machine(),
        "host": platform.node(),
        "process": _describe_process(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
    }
    return write_text(stage_outputs.manifest, json.dumps(content, indent=2, sort_keys=True) + "\n")


def remove_scratch(finished: Iterable[StageOutputs]) -> None:
    """Remove the scratch folders of finished commands.

    Args:
        finished: Outputs of commands whose manifests are written.
    """
    for stage_outputs in finished:
        if stage_outputs.scratch is not None:
            shutil.rmtree(stage_outputs.scratch, ignore_errors=True)


def is_tree_clean(root: Path) -> bool:
    """Report whether all sources of results are as committed.

    Args:
        root: The project's folder.

    Returns:
        True if git finds no change below `sources.PARTS`; False also where there is no git or no repository.
    """
    return _run_git(root, "status", "--porcelain", "--", *sources.PARTS) == ""


def _describe_process() -> dict[str, Any]:
    """Device, thread count and every setting on which the last digits depend; with GPUs also their driver."""
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


def _hash_files(paths: Iterable[Path]) -> dict[str, dict[str, str | int]]:
    """File → its SHA-256 and its size in bytes."""
    unique = sorted({str(path) for path in paths})
    return {path: {"sha256": sha256(path), "bytes": Path(path).stat().st_size} for path in unique}


def _digest_file(path: Path) -> str | None:
    """The first sixteen hexadecimal digits of a file's SHA-256; None if it does not exist."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def _find_versions() -> dict[str, str]:
    """Installed package of LIBRARIES → its version."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _run_git(root: Path, *arguments: str) -> str | None:
    """The output of a git command, or None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
