"""`reinduce series`: joint principal components of the per-token losses of runs.

Each checkpoint is a point whose coordinates are its losses at one fixed random index of each held-out example; the
components are those of all runs on a task together, as far as a look adds them, so that their paths can be compared
(Olsson et al. 2022). Runs that a later look adds are compared with each other, so earlier paths stay as they are.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from reinduce.config.declare import Metric
from reinduce.metrics.of_stages import PCA_TURN_ANGLE, PCA_TURN_STEP
from reinduce.metrics.training import interpolate, read_window
from reinduce.tables import read_table, write_rows
from reinduce.trace.manifest import StageOutputs

Run = tuple[str, str, int]


def add_series_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="score folders of the runs")
    parser.add_argument("--look", type=int, required=True, help="the look that adds these runs, from 1 on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables of each run")


def run_series(args: argparse.Namespace) -> StageOutputs:
    """Write each run's components (ARM.seedK.parquet), and beside them its turn (ARM.seedK.trajectories.parquet)."""
    token_files = [run / "token_losses.parquet" for run in args.runs]
    window_files = [run / "trajectories.parquet" for run in args.runs]
    paths = components(losses_by_checkpoint(token_files))
    windows = read_windows(window_files)
    written = [file for run, path in paths.items() for file in _write_path(run, path, windows.get(run), args.out)]
    return StageOutputs(
        manifest=args.out / f"look{args.look}.manifest.json",
        inputs=token_files + window_files,
        outputs=written,
    )


def _write_path(
    run: Run, path: list[tuple[int, list[float]]], window: tuple[float, float] | None, folder: Path
) -> list[Path]:
    """Write a run's path and its turn."""
    study, arm, seed = run
    which = {"study": study, "arm": arm, "seed": seed}
    points = (
        which | {"step": step, "component": i + 1, "value": value}
        for step, point in path
        for i, value in enumerate(point)
    )
    turns = (
        which | {"metric": metric.name, "value": value, "metric_version": metric.version, "n_items": len(path)}
        for metric, value in turn(path, window).items()
    )
    name = f"{arm}.seed{seed}"
    return [
        write_rows("loss_components", points, folder / f"{name}.parquet"),
        write_rows("trajectories", turns, folder / f"{name}.trajectories.parquet"),
    ]


def losses_by_checkpoint(files: list[Path]) -> dict[tuple[Run, int], Tensor]:
    """Each checkpoint's losses [examples], in the order of the examples."""
    found: dict[tuple[Run, int], list[float]] = {}
    for path in files:
        columns = read_table("token_losses", [path]).to_pydict()
        for study, arm, seed, step, loss in zip(
            *(columns[name] for name in ("study", "arm", "seed", "step", "loss")), strict=True
        ):
            found.setdefault(((study, arm, seed), step), []).append(loss)
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in found.items()}


def components(losses: dict[tuple[Run, int], Tensor], count: int = 2) -> dict[Run, list[tuple[int, list[float]]]]:
    """Each run's path through the first `count` principal components: (step, coordinates), ascending."""
    keys = sorted(losses)
    matrix = torch.stack([losses[key] for key in keys])
    centred = matrix - matrix.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:count]
    # An axis has no sign of its own: let its largest entry point upward.
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    made: dict[Run, list] = {}
    for (run, step), point in zip(keys, (centred @ axes.T).tolist(), strict=True):
        made.setdefault(run, []).append((step, point))
    return made


def read_windows(files: list[Path]) -> dict[Run, tuple[float, float]]:
    """Each run's phase-change window, where it has one."""
    rows: dict[Run, list[dict]] = {}
    for row in read_table("trajectories", files).to_pylist():
        rows.setdefault((row["study"], row["arm"], row["seed"]), []).append(row)
    windows = {run: read_window(its) for run, its in rows.items()}
    return {run: window for run, window in windows.items() if window is not None}


def turn(path: list[tuple[int, list[float]]], window: tuple[float, float] | None) -> dict[Metric, float | None]:
    """How a path turns: the angle, in degrees, between its course up to the window and within
    it; and the step farthest from the straight line between the path's ends."""
    curves = [[(step, point[i]) for step, point in path] for i in range(len(path[0][1]))]
    ends = (path[0][0], path[-1][0])

    def course(start: float, end: float) -> list[float]:
        return [interpolate(curve, end) - interpolate(curve, start) for curve in curves]

    angle = None
    if window is not None and window[0] > ends[0]:
        before, within = course(ends[0], window[0]), course(*window)
        size = math.hypot(*before) * math.hypot(*within)
        cosine = sum(b * w for b, w in zip(before, within, strict=True)) / size
        angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    dx, dy = course(*ends)
    distances = [abs(dx * (p[1] - path[0][1][1]) - dy * (p[0] - path[0][1][0])) for _, p in path]
    farthest = max(range(len(path)), key=distances.__getitem__)
    return {PCA_TURN_ANGLE: angle, PCA_TURN_STEP: float(path[farthest][0])}
