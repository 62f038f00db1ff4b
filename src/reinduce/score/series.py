"""`reinduce series`: joint principal components of all runs' per-token losses.

Each checkpoint is a point whose coordinates are its losses at one fixed random index of
each held-out example; the components are those of all runs on a task together, so that
their paths can be compared (Olsson et al. 2022).
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
    parser.add_argument("--out", type=Path, required=True, help="the table of components (PATH.parquet)")


def run_series(args: argparse.Namespace) -> StageOutputs:
    """Write the components, and beside them each run's turn (PATH.trajectories.parquet)."""
    token_files = [run / "token_losses.parquet" for run in args.runs]
    window_files = [run / "trajectories.parquet" for run in args.runs]
    paths = components(losses_by_checkpoint(token_files))
    points = (
        {"study": s, "arm": a, "seed": k, "step": step, "component": i + 1, "value": value}
        for (s, a, k), path in paths.items()
        for step, point in path
        for i, value in enumerate(point)
    )
    windows = read_windows(window_files)
    turns = (
        {"study": s, "arm": a, "seed": k, "metric": metric.name, "value": value}
        | {"metric_version": metric.version, "n_items": len(path)}
        for (s, a, k), path in paths.items()
        for metric, value in turn(path, windows.get((s, a, k))).items()
    )
    beside = args.out.with_suffix(".trajectories.parquet")
    return StageOutputs(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=token_files + window_files,
        outputs=[write_rows("loss_components", points, args.out), write_rows("trajectories", turns, beside)],
    )


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
