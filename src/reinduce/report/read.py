"""Tables of a study as data frames, for figures.

Only files that the arms' own settings ask for are read: a checkpoint left over from another
schedule is never plotted.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from reinduce import tables
from reinduce.config.job_specs import ArmSpec, read_spec
from reinduce.config.layout import (
    RUN_TABLES,
    checkpoint_steps,
    drawn_files,
    run_table_files,
    schema_name,
    score_files,
    seed_folders,
)
from reinduce.config.metric_settings import MetricSettings


def load(
    table: str,
    results: str | Path = "results",
    study: str | None = None,
    arm: str | None = None,
    **equal: Any,
) -> pd.DataFrame:
    """Load a table of results as a data frame.

    Args:
        table: The table's name, such as `scores`, `trajectories`, `ablations` or `ledger`.
        results: Folder of results.
        study: The study's key; None: all.
        arm: The arm within its study; None: all.
        equal: Column → the value that rows must have there, such as `metric="loss"`.

    Returns:
        The rows of all runs that the configuration had when the results were made.

    Raises:
        ValueError: There is no such table.
        FileNotFoundError: No run has it.

    Example:
        >>> import tempfile
        >>> results = tempfile.mkdtemp()
        >>> rows = [{"study": "mine", "claim": "one", "verdict": "holds"}]
        >>> _ = tables.write_rows("ledger", rows, f"{results}/ledger.parquet")
        >>> load("ledger", results, study="mine").verdict.tolist()
        ['holds']
    """
    known = sorted({"ledger", "scores", "loss_components", *RUN_TABLES})
    if table not in known:
        raise ValueError(f"no table {table!r}; there are: {', '.join(known)}")
    chosen = {name: value for name, value in (("study", study), ("arm", arm)) if value is not None} | equal
    folder = Path(results)
    if table == "ledger":
        paths = [folder / "ledger.parquet"]
    else:
        specs = [read_spec(ArmSpec, path) for path in sorted(folder.glob(f"{study or '*'}/{arm or '*'}/train.json"))]
        paths = [path for spec in specs for path in _list_run_files(table, folder, spec)]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise FileNotFoundError(f"{folder}: no {table} of {study or 'any study'}, {arm or 'any arm'}; make them first")
    return _load_table(table, paths, **chosen)


def load_arms(results: str | Path, study: str, tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """Load the study's trained and scored arms.

    Args:
        results: Folder of results.
        study: The study's key.
        tasks: Tasks whose arms are loaded; None: all.

    Returns:
        A row for each arm, indexed by arm. Columns: task, layers, heads, smeared, mlp, label (the model in words),
        steps, checkpoints (list of steps), spec, seeds (list). Ordered by task, then from plain and shallow to
        smeared, deep and with MLP.

    Raises:
        FileNotFoundError: No arm has scores.
    """
    found = []
    configured = _configured_seeds(Path(results, study, "seeds.json"))
    for path in sorted(Path(results, study).glob("*/train.json")):
        scored = {int(score.parts[-3].removeprefix("seed")) for score in path.parent.glob("seed*/score/*.parquet")}
        # Seeds that the configuration no longer asks for are left out.
        seeds = sorted(seed for seed in scored if seed in configured.get(path.parent.name, scored))
        if seeds:
            found.append(_describe_arm(read_spec(ArmSpec, path), seeds))
    found = [arm for arm in found if tasks is None or arm["task"] in tasks]
    if not found:
        raise FileNotFoundError(f"{Path(results, study)}: no arm has scores yet; make them, then the figure")
    order = ["task", "mlp", "smeared", "layers", "arm"]
    return pd.DataFrame(found).sort_values(order).set_index("arm")


def summarise_arms(arms: pd.DataFrame) -> pd.DataFrame:
    """Summarise arms for readers: what each is and how much of it there is.

    Args:
        arms: Rows of `load_arms`.

    Returns:
        A row for each arm; the column names are headings.
    """
    return pd.DataFrame(
        {
            "arm": arms.index,
            "model": arms.label,
            "heads per layer": arms["heads"],
            "trained on": arms.task,
            "training steps": arms.steps,
            "checkpoints": arms.checkpoints.map(len),
            "seeds": arms.seeds.map(len),
        }
    )


def load_metric_settings(results: str | Path, study: str, arm: str) -> MetricSettings:
    """Load the settings with which an arm's checkpoints were scored.

    Args:
        results: Folder of results.
        study: The study's key.
        arm: The arm's name.

    Returns:
        The settings.

    Raises:
        FileNotFoundError: The arm has none.
    """
    return read_spec(MetricSettings, Path(results, study, arm, "metrics.json"))


def load_scores(results: str | Path, study: str, arms: pd.DataFrame) -> pd.DataFrame:
    """Load table `scores` of some arms.

    Args:
        results: Folder of results.
        study: The study's key.
        arms: Rows of `load_arms`.

    Returns:
        Every checkpoint of the arms' schedules that has scores.
    """
    files = (path for arm in arms.index for path in _list_score_files(results, study, arms.loc[arm]))
    return _load_table("scores", files)


def load_run_table(table: str, results: str | Path, study: str, arms: pd.DataFrame, **equal: str) -> pd.DataFrame:
    """Load a table of which each run has one file.

    Args:
        table: Any table but `scores`.
        results: Folder of results.
        study: The study's key.
        arms: Rows of `load_arms`.
        equal: Column → the value that rows must have there.

    Returns:
        The rows of all runs that have the table.
    """
    paths = (
        path
        for arm in arms.index
        for folder in seed_folders(results, f"{study}/{arm}", arms.seeds[arm])
        for path in run_table_files(table, folder, arms.spec[arm])
    )
    return _load_table(schema_name(table), (path for path in paths if path.is_file()), **equal)


def list_figure_inputs(results: str | Path, names: Iterable[str], drawn: Iterable[str]) -> list[Path]:
    """List the files that a figure is made from.

    Args:
        results: Folder of results.
        names: Arms as 'study/arm'.
        drawn: Tables that are plotted.

    Returns:
        The files that exist.

    Raises:
        FileNotFoundError: A study has no arm with scores.
    """
    runs = {}
    for name in names:
        study, arm = name.split("/")
        known = load_arms(results, study)
        runs[name] = known.spec[arm], known.seeds[arm]
    return [path for path in drawn_files(results, drawn, runs) if path.is_file()]


def find_windows(trajectories: pd.DataFrame, start: str, end: str) -> pd.DataFrame:
    """Find a window of training steps in each run.

    Args:
        trajectories: Rows of table `trajectories`.
        start: The metric of a run that gives the first step.
        end: The metric of a run that gives the last step.

    Returns:
        Columns arm, seed, start and end (steps); runs without a window are left out.
    """
    ends = {start: "start", end: "end"}
    rows = trajectories[trajectories.metric.isin(ends)].assign(metric=lambda rows: rows.metric.map(ends))
    wide = rows.pivot(index=["arm", "seed"], columns="metric", values="value").reindex(columns=["start", "end"])
    return wide.dropna().reset_index()


def select_metric(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Select the rows of a metric.

    Args:
        scores: Rows with columns metric and value.
        metric: The metric's name.

    Returns:
        The rows that have a value.
    """
    return scores[(scores.metric == metric) & scores.value.notna()]


def max_over_heads(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Compute the highest score of all heads at each checkpoint.

    Args:
        scores: Rows of table `scores`.
        metric: A metric of heads.

    Returns:
        Columns arm, seed, step, value.
    """
    return select_metric(scores, metric).groupby(["arm", "seed", "step"], as_index=False).value.max()


def select_last_checkpoint(rows: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of each run's last checkpoint.

    Args:
        rows: Rows with columns arm, seed and step.

    Returns:
        Those of the largest step of each arm and seed.
    """
    return rows[rows.step == rows.groupby(["arm", "seed"]).step.transform("max")]


def pivot_by_head(*parts: pd.DataFrame) -> pd.DataFrame:
    """Arrange metrics of heads at each run's last checkpoint as a row for each head.

    Args:
        parts: Rows of any tables with columns arm, seed, step, layer, head, metric and value; each metric once.

    Returns:
        Index arm, seed, layer, head; a column for each metric, missing where it was not scored.
    """
    rows = pd.concat([select_last_checkpoint(part) for part in parts])
    rows = rows[rows["head"].notna()].astype({"layer": int, "head": int})
    return rows.pivot(index=["arm", "seed", "layer", "head"], columns="metric", values="value")


def _configured_seeds(path: Path) -> dict[str, list[int]]:
    """Arm → its seeds; empty where results have no such file."""
    return json.loads(path.read_text()) if path.is_file() else {}


def _describe_arm(spec: ArmSpec, seeds: list[int]) -> dict[str, Any]:
    """An arm's row of `load_arms`."""
    model = spec.model
    label = f"{model.n_layers} layer{'s' if model.n_layers > 1 else ''}"
    label += {"attention": "", "gru": " of a GRU", "gated_linear": " of a gated linear recurrence"}[model.mixer]
    label += ", smeared keys" if model.smeared_keys else ""
    label += ", MLP" if model.mlp_ratio else ""
    return {
        "arm": spec.arm,
        "task": spec.task_name,
        "layers": model.n_layers,
        "heads": model.n_heads if model.has_heads else 0,
        "smeared": model.smeared_keys,
        "mlp": model.mlp_ratio > 0,
        "label": label,
        "steps": spec.train.steps,
        "checkpoints": checkpoint_steps(spec),
        "spec": spec,
        "seeds": seeds,
    }


def _list_run_files(table: str, results: Path, spec: ArmSpec) -> list[Path]:
    """The files of a table of an arm's runs, as far as its seeds are configured."""
    seeds = _configured_seeds(results / spec.study / "seeds.json").get(spec.arm, [])
    folders = seed_folders(results, f"{spec.study}/{spec.arm}", seeds)
    return [path for folder in folders for path in run_table_files(table, folder, spec)]


def _list_score_files(results: str | Path, study: str, arm: pd.Series) -> list[Path]:
    folders = seed_folders(results, f"{study}/{arm.name}", arm.seeds)
    return [path for folder in folders for path in score_files(folder, arm.spec) if path.is_file()]


def _load_table(table: str, paths: Iterable[Path], **equal: str) -> pd.DataFrame:
    rows = tables.read_table(table, paths)
    for column, value in equal.items():
        rows = rows.filter(pc.equal(rows[column], value))
    return rows.to_pandas()
