"""Where results lie: the one place that knows the names of files and folders.

R/data/<task>/…
R/<study>/<arm>/{train,metrics,ablate}.json
R/<study>/<arm>/seed<k>/{train,score,ablate,attribute}/…
R/<study>/series/<task>/<arm>.seed<k>[.trajectories].parquet
R/looks/<study>.<claim>/look<k>.json
R/claims/<study>.<claim>.json · R/figures/<study>.<figure>.{ipynb,html}
R/ledger.{parquet,json} · R/index.html · R/seeds.html
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reinduce.config.arm_contents import unavailable_reason
from reinduce.config.job_specs import ArmSpec, checkpoint_name
from reinduce.config.task_definition import TaskDefinition

RUN_TABLES = {
    "runs": "train/run.parquet",
    "train_log": "train/train_log.parquet",
    "index_losses": "score/index_losses.parquet",
    "token_losses": "score/token_losses.parquet",
    "trajectories": "score/trajectories.parquet",
    "ablations": "ablate/ablations.parquet",
    "attributions": "attribute/attributions.parquet",
}
"""Table → its file in a seed's folder. `scores` has one file a checkpoint instead."""

SERIES_TABLES = {"loss_components": ".parquet", "series_trajectories": ".trajectories.parquet"}
"""Table that is computed from all runs of a task together → ending of a run's file. Rows of series_trajectories are
trajectories."""

TABLES = (*RUN_TABLES, "scores", *SERIES_TABLES)
"""What claims may read."""

DRAWN = ("scores", "index_losses", "trajectories", "ablations", "attributions", "loss_components")
"""What figures are drawn from, unless they ask for less."""

Runs = Mapping[str, tuple[ArmSpec, Iterable[int]]]
"""'study/arm' → its arm and seeds."""


def checkpoint_steps(arm: ArmSpec) -> list[int]:
    """Steps at which an arm's checkpoints are kept and scored."""
    return arm.train.checkpoints.steps(arm.train.steps)


def seed_folders(results: Path | str, name: str, seeds: Iterable[int]) -> list[Path]:
    """Folders of the seeds of 'study/arm'."""
    return [Path(results, name, f"seed{seed}") for seed in seeds]


def checkpoint_files(folder: Path, arm: ArmSpec) -> list[Path]:
    """Every checkpoint of a seed's folder."""
    return [folder / "train" / "checkpoints" / f"{checkpoint_name(step)}.safetensors" for step in checkpoint_steps(arm)]


def score_files(folder: Path, arm: ArmSpec) -> list[Path]:
    """Every checkpoint's scores in a seed's folder, ascending."""
    return [folder / "score" / f"{checkpoint_name(step)}.parquet" for step in checkpoint_steps(arm)]


def source_checkpoint_file(results: Path | str, arm: ArmSpec, seed: int, source: ArmSpec, seeds: Sequence[int]) -> Path:
    """The checkpoint from which a seed of an arm takes its graft; `seeds`: those of the source in the same look."""
    given = seeds[(seed - seeds[0] + arm.graft.seed_offset) % len(seeds)]
    folder = Path(results, source.study, source.arm, f"seed{given}")
    return checkpoint_files(folder, source)[-1]


def score_outputs(folder: Path, arm: ArmSpec, task: TaskDefinition) -> list[Path]:
    """Return all files that scoring a seed makes."""
    tables = ("trajectories", "index_losses", "token_losses")
    found = [folder / RUN_TABLES[table] for table in tables if unavailable_reason(table, arm, task) is None]
    return [*score_files(folder, arm), *found]


def run_table_files(table: str, folder: Path, arm: ArmSpec) -> list[Path]:
    """The files of a table of one run, whose seed's folder this is."""
    if table in SERIES_TABLES:
        return [series_folder(folder.parents[1], arm.task_name) / f"{arm.arm}.{folder.name}{SERIES_TABLES[table]}"]
    return score_files(folder, arm) if table == "scores" else [folder / RUN_TABLES[table]]


def schema_name(table: str) -> str:
    """The name of the schema of a table's rows, by which queries know them."""
    return table.removeprefix("series_")


def drawn_files(results: Path | str, tables: Iterable[str], runs: Runs) -> list[Path]:
    """Every file that a figure of some runs is drawn from."""
    tables = [*tables, *(["series_trajectories"] if "loss_components" in tables else [])]
    found = []
    for name, (arm, seeds) in runs.items():
        found += [Path(results, arm.study, "seeds.json"), Path(results, name, "train.json")]
        found += [Path(results, name, "metrics.json")]
        for folder in seed_folders(results, name, seeds):
            for table in tables:
                found += run_table_files(table, folder, arm)
    return list(dict.fromkeys(found))


def series_folder(study: Path, task: str) -> Path:
    """The folder of what is computed from all runs of a study on a task; `study`: the study's folder of results."""
    return study / "series" / task


def data_files(results: Path | str, name: str, task: TaskDefinition) -> list[Path]:
    """Return the data of a task, or of a study's variant of it under its own name, file by file."""
    return [Path(results, "data", name, file) for file in task.file_names()]


def bound_reads(reads: Mapping[str, list[str]], study: str, bindings: Mapping) -> dict[str, list[str]]:
    """What a claim reads, with `$name` filled in and every arm as 'study/arm'.

    Raises ValueError if a name is not bound to text.
    """
    found = {}
    for table, names in reads.items():
        bound = [bindings.get(name[1:]) if name.startswith("$") else name for name in names]
        if not all(isinstance(name, str) for name in bound):
            raise ValueError(f"reads.{table}: {', '.join(names)}: every $name must be bound to an arm's name by `with`")
        found[table] = list(dict.fromkeys(name if "/" in name else f"{study}/{name}" for name in bound))
    return found


def common_seeds(reads: Mapping[str, list[str]], seeds: Mapping[str, Iterable[int]]) -> list[int]:
    """Seeds that all arms have which are read.

    `seeds`: 'study/arm' → its seeds. Raises ValueError if it lacks an arm.
    """
    arms = {name for names in reads.values() for name in names}
    unknown = sorted(arms - set(seeds))
    if unknown or not arms:
        raise ValueError(f"looks: the claim lists no seeds of {', '.join(unknown) or 'any arm'}")
    return sorted(set.intersection(*(set(seeds[name]) for name in arms)))


def evidence_files(results: Path | str, claim: Mapping, look: int, arms: Mapping[str, ArmSpec]) -> list[Path]:
    """Every file that a claim and its control read at a look, from 1 on."""
    found = set()
    for bindings in (claim["with"], claim["with"] | claim["control"]["with"]):
        reads = bound_reads(claim["reads"], claim["study"], bindings)
        seeds = common_seeds(reads, claim["looks"][look - 1])
        for table, names in reads.items():
            for name in names:
                found.add(Path(results, name, "train.json"))
                for folder in seed_folders(results, name, seeds):
                    found.update(run_table_files(table, folder, arms[name]))
    return sorted(found)


def look_file(results: Path | str, name: str, look: int | str) -> Path:
    """What a look at 'study.claim' found; looks are counted from 1."""
    return Path(results, "looks", name, f"look{look}.json")
