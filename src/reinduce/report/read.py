"""What a figure reads: a study's tables as data frames.

Only what the arms' own settings ask for is read: a checkpoint left over from another
schedule never gets into a picture.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from reinduce import tables
from reinduce.config.layout import RUN_TABLES, checkpoint_steps, drawn_files, score_files, seed_folders, series_file
from reinduce.config.specs import ArmSpec, MeasureSpec, read_spec


def arms(results: str | Path, study: str, tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """The study's trained and scored arms, on some tasks or all, a row each, indexed by arm.

    Columns: task, layers, heads, smeared, mlp, label (what a reader calls the model), steps,
    parameters of the measure (measure), checkpoint steps (checkpoints), seeds (list).
    Ordered by task, then from plain and shallow to smeared, deep and with MLP.
    Raises FileNotFoundError if no arm has scores.
    """
    found = []
    configured = _configured_seeds(Path(results, study, "seeds.json"))
    for path in sorted(Path(results, study).glob("*/train.json")):
        scored = {int(score.parts[-3].removeprefix("seed")) for score in path.parent.glob("seed*/score/*.parquet")}
        # Seeds that the configuration no longer asks for stay out of the picture.
        seeds = sorted(seed for seed in scored if seed in configured.get(path.parent.name, scored))
        if seeds:
            found.append(_described(read_spec(ArmSpec, path), seeds))
    found = [arm for arm in found if tasks is None or arm["task"] in tasks]
    if not found:
        raise FileNotFoundError(f"{Path(results, study)}: no arm has scores yet; make them, then the figure")
    order = ["task", "mlp", "smeared", "layers", "arm"]
    return pd.DataFrame(found).sort_values(order).set_index("arm")


def _configured_seeds(path: Path) -> dict[str, list[int]]:
    """Which seeds each arm has; empty where results were put together by hand."""
    return json.loads(path.read_text()) if path.is_file() else {}


def _described(spec: ArmSpec, seeds: list[int]) -> dict:
    model = spec.model
    label = f"{model.layers} layer{'s' if model.layers > 1 else ''}"
    label += {"attention": "", "gru": " of a GRU", "gated_linear": " of a gated linear recurrence"}[model.mixer]
    label += ", smeared keys" if model.smeared_keys else ""
    label += ", MLP" if model.mlp_ratio else ""
    return {
        "arm": spec.arm,
        "task": spec.task_name,
        "layers": model.layers,
        "heads": model.heads if model.has_heads else 0,
        "smeared": model.smeared_keys,
        "mlp": model.mlp_ratio > 0,
        "label": label,
        "steps": spec.train.steps,
        "checkpoints": checkpoint_steps(spec),
        "spec": spec,
        "seeds": seeds,
    }


def overview(chosen: pd.DataFrame) -> pd.DataFrame:
    """A table of arms for readers: what each is and how much of it there is."""
    return pd.DataFrame(
        {
            "arm": chosen.index,
            "model": chosen.label,
            "heads per layer": chosen["heads"],
            "trained on": chosen.task,
            "training steps": chosen.steps,
            "checkpoints": chosen.checkpoints.map(len),
            "seeds": chosen.seeds.map(len),
        }
    )


def measure(results: str | Path, study: str, arm: str) -> MeasureSpec:
    """How an arm's checkpoints were measured."""
    return read_spec(MeasureSpec, Path(results, study, arm, "measure.json"))


def scores(results: str | Path, study: str, chosen: pd.DataFrame) -> pd.DataFrame:
    """Table `scores` of the chosen arms, every checkpoint of their schedules that is there."""
    return _frame("scores", (path for arm in chosen.index for path in _score_files(results, study, chosen.loc[arm])))


def _score_files(results: str | Path, study: str, arm: pd.Series) -> list[Path]:
    folders = seed_folders(results, f"{study}/{arm.name}", arm.seeds)
    return [path for folder in folders for path in score_files(folder, arm.spec) if path.is_file()]


def of_runs(table: str, results: str | Path, study: str, chosen: pd.DataFrame, **equal: str) -> pd.DataFrame:
    """A table that each run has one file of (see RUN_TABLES), only rows where columns equal what is given."""
    folders = (f for arm in chosen.index for f in seed_folders(results, f"{study}/{arm}", chosen.seeds[arm]))
    paths = (folder / RUN_TABLES[table] for folder in folders)
    return _frame(table, (path for path in paths if path.is_file()), **equal)


def components(results: str | Path, study: str, task: str) -> pd.DataFrame:
    """Table `loss_components` of a task's runs, empty if there is none."""
    path = series_file(results, "loss_components", f"{study}/{task}")
    return _frame("loss_components", [path] if path.is_file() else [])


def turns(results: str | Path, study: str, task: str) -> pd.DataFrame:
    """Table `trajectories` made from a task's loss components, empty if there is none."""
    path = series_file(results, "series_trajectories", f"{study}/{task}")
    return _frame("trajectories", [path] if path.is_file() else [])


def inputs(results: str | Path, names: Iterable[str], drawn: Iterable[str]) -> list[Path]:
    """The files of some tables of some arms ('study/arm') that are there."""
    runs = {}
    for name in names:
        study, arm = name.split("/")
        known = arms(results, study)
        runs[name] = known.spec[arm], known.seeds[arm]
    return [path for path in drawn_files(results, drawn, runs) if path.is_file()]


def windows(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Each run's phase-change window, columns arm, seed, start, end (steps); runs without one are left out."""
    ends = {"window_start": "start", "window_end": "end"}
    rows = trajectories[trajectories.metric.isin(ends)].assign(metric=lambda rows: rows.metric.map(ends))
    wide = rows.pivot(index=["arm", "seed"], columns="metric", values="value").reindex(columns=["start", "end"])
    return wide.dropna().reset_index()


def whole(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of a metric, without those that were not scored."""
    return scores[(scores.metric == metric) & scores.value.notna()]


def best(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The highest head's score at each checkpoint: columns arm, seed, step, value."""
    return whole(scores, metric).groupby(["arm", "seed", "step"], as_index=False).value.max()


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each run's last checkpoint."""
    return rows[rows.step == rows.groupby(["arm", "seed"]).step.transform("max")]


def by_head(*parts: pd.DataFrame) -> pd.DataFrame:
    """A row a head at its run's last checkpoint, a column a metric (missing: not scored).

    `parts` are rows of any tables with arm, seed, step, layer, head, metric and value; each
    metric once. Index: arm, seed, layer, head.
    """
    rows = pd.concat([last(part) for part in parts])
    rows = rows[rows["head"].notna()].astype({"layer": int, "head": int})
    return rows.pivot(index=["arm", "seed", "layer", "head"], columns="metric", values="value")


def _frame(table: str, paths: Iterable[Path], **equal: str) -> pd.DataFrame:
    read = tables.read_table(table, paths)
    for column, value in equal.items():
        read = read.filter(pc.equal(read[column], value))
    return read.to_pandas()
