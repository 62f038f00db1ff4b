"""Results that no stage made, with the manifests that the stages would have written."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from unittest.mock import patch

from reinduce.trace.files import write_text
from reinduce.trace.manifest import StageOutputs, write_manifest
from reinduce.trace.places import PLACES

MODULES = {place.command: place.module for place in PLACES}


def plant_manifest(
    command: str,
    inputs: Iterable[Path],
    outputs: Sequence[Path],
    manifest: Path | None = None,
    rule: Sequence[str] = ("planted",),
    modules: Iterable[str] = (),
) -> Path:
    """Write the manifest of a stage's command beside its outputs.

    Args:
        command: The stage's command.
        inputs: Files read.
        outputs: Files written.
        manifest: Where it lies; None: manifest.json beside the first output.
        rule: The rule's name and its wildcards.
        modules: Modules that the stage found by name.

    Returns:
        The manifest's path.
    """
    path = manifest or outputs[0].with_name("manifest.json")
    made = StageOutputs(manifest=path, inputs=inputs, outputs=outputs, modules=modules)
    with patch.object(sys, "argv", ["reinduce", command]):
        return write_manifest(made, MODULES[command], 0.0, rule)


def plant_run(results: Path, arm: str, seed: int) -> list[Path]:
    """Write what a seed's scores are made from: settings and one checkpoint.

    Args:
        results: Folder of results.
        arm: 'study/arm'; its train.json must exist.
        seed: The seed.

    Returns:
        The settings and the checkpoint.
    """
    settings = [results / arm / "train.json", results / arm / "metrics.json"]
    write_text(settings[1], "{}")
    checkpoint = write_text(results / arm / f"seed{seed}/train/checkpoints/step00000000.safetensors", "weights")
    plant_manifest("train", settings[:1], [checkpoint], checkpoint.parents[1] / "manifest.json")
    return [*settings, checkpoint]
