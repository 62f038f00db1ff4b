"""What each stage reads and writes for one seed of an arm, and the arguments of its command."""

from pathlib import Path

from reinduce.config import layout
from reinduce.config.job_specs import ArmSpec
from reinduce.config.resolved import Run

STAGE_SPECS = {
    "train": ("train",),
    "score": ("train", "metrics"),
    "ablate": ("train", "metrics", "ablate"),
    "attribute": ("train",),
}
"""Stage → the settings of each arm that it reads, by the names of their files."""

STAGE_TABLE = {"ablate": "ablations", "attribute": "attributions"}
"""Stage → the table that it makes, for stages that skip the arms without that table."""


def list_outputs(stage: str, folder: Path, run: Run) -> list[Path]:
    """List the files that a stage writes for one seed of an arm.

    Args:
        stage: train, score, ablate or attribute.
        folder: the folder of the seed.
        run: the arm and its task.
    """
    arm = run.arm
    if stage == "train":
        tables = [folder / layout.RUN_TABLES[table] for table in ("train_log", "runs")]
        return [*tables, *layout.checkpoint_files(folder, arm)]
    if stage == "score":
        return layout.score_outputs(folder, arm, run.task)
    return [folder / layout.RUN_TABLES[STAGE_TABLE[stage]]]


Arguments = list[str | int | Path]
"""What follows a command on its command line."""


def list_arguments(stage: str, results: str, arm: ArmSpec, seed: int, source: Path | None) -> Arguments:
    """List the arguments with which a stage's command is called for one seed of an arm.

    Args:
        stage: train, score, ablate or attribute.
        results: the folder of all results.
        arm: the arm.
        seed: the seed.
        source: the checkpoint from which a training takes its graft, if the arm has one.
    """
    folder = Path(results, arm.study, arm.arm)
    run = folder / f"seed{seed}"
    data: Arguments = ["--seed", seed, "--data", f"{results}/data/{arm.task}"]
    if stage == "train":
        graft: Arguments = ["--source-checkpoint", source] if source else []
        return [folder / "train.json", *data, *graft, "--out", run / "train"]
    read: Arguments = [*data, "--checkpoints", run / "train/checkpoints"]
    if stage == "score":
        return [folder / "metrics.json", "--train", folder / "train.json", *read, "--out", run / "score"]
    if stage == "ablate":
        specs: Arguments = [
            *(folder / "ablate.json", "--train", folder / "train.json", "--metrics", folder / "metrics.json")
        ]
        return [*specs, *read, "--scores", run / "score", "--out", run / "ablate"]
    return ["--train", folder / "train.json", *read, "--out", run / "attribute"]
