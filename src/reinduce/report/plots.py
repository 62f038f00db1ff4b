"""Pieces of figures: each draws one thing into the axes it is given.

An arm has the same colour in every figure: blue for attention alone, orange for smeared
keys, green for MLPs, darker with every layer; line styles say the same once more. Layers
of one model run from grey to purple. All of them can be told apart by colour-blind readers.
"""

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

PLAIN = ("#56B4E9", "#0072B2", "#08306B", "#000000")
SMEARED = ("#E69F00", "#C04A00", "#7F2704", "#3F1402")
MLP = ("#66C2A4", "#009E73", "#00573F", "#003024")
LAYERS = ("#8C8C8C", "#CC79A7", "#6A3D9A", "#000000")
MARKERS = ("o", "^", "s", "D")
WINDOW = "#F0E442"


def style() -> None:
    """Settings of every figure: legible where a page is as wide as the figure."""
    matplotlib.rcParams.update(
        {
            "figure.dpi": 150,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E6E6E6",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.solid_capstyle": "round",
        }
    )


def looks(arms: pd.DataFrame) -> dict[str, dict]:
    """Colour and line style of each arm of `read.arms`."""
    return {arm.Index: _look(arm.layers, arm.smeared, arm.mlp) for arm in arms.itertuples()}


def _look(layers: int, smeared: bool, mlp: bool) -> dict:
    family, line = (MLP, (0, (5, 1, 1, 1))) if mlp else (SMEARED, (0, (4, 1))) if smeared else (PLAIN, "-")
    return {"color": family[min(layers, len(family)) - 1], "linestyle": line}


def layer_colour(layer: int) -> str:
    """Colour of a model's layer, counted from 0."""
    return LAYERS[min(layer, len(LAYERS) - 1)]


def curves(axes: Axes, rows: pd.DataFrame, look: dict, x: str = "step", y: str = "value") -> None:
    """Thin: each seed. Bold: their mean, where every seed has a value."""
    for _, run in rows.groupby("seed"):
        axes.plot(run[x], run[y], color=look["color"], linewidth=0.7, alpha=0.5)
    means = rows.groupby(x)[y].agg(["mean", "size"])
    means = means["mean"][means["size"] == rows.seed.nunique()]
    axes.plot(means.index, means, linewidth=2, **look)


def head_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """A thin line for every head of every seed, coloured by layer; later layers above."""
    for (layer, _, _), run in rows.groupby(["layer", "head", "seed"]):
        colour = layer_colour(int(layer))
        axes.plot(run.step, run.value, color=colour, linewidth=0.8, alpha=0.55, zorder=2 + 0.1 * layer)


def shade(axes: Axes, windows: pd.DataFrame) -> None:
    """Shade each seed's phase-change window; darker where windows overlap."""
    for window in windows.itertuples():
        alpha = 0.75 / max(len(windows), 1)
        axes.axvspan(window.start, window.end, color=WINDOW, alpha=alpha, linewidth=0, zorder=0)


def strip(axes: Axes, values: dict[str, Iterable[float]], colours: dict[str, str]) -> None:
    """A row of points for each name, top to bottom, a point a seed, with a bar at the mean."""
    for y, (name, points) in enumerate(values.items()):
        points = np.sort(np.asarray(list(points), dtype=float))
        points = points[np.isfinite(points)]
        spread = y + np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else np.full(len(points), y)
        axes.scatter(points, spread, s=16, color=colours[name], alpha=0.75, linewidth=0, zorder=3)
        if len(points):
            axes.vlines(points.mean(), y - 0.32, y + 0.32, color=colours[name], linewidth=2)
        else:
            axes.annotate(
                "none", (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center", color="#666666"
            )
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def head_points(axes: Axes, heads: pd.DataFrame, x: str, y: str, arm_looks: dict[str, dict]) -> None:
    """A point a head of `read.by_head`: colour its arm, marker its layer. Says so where there is none."""
    known = heads.reindex(columns=[x, y]).dropna().reset_index()
    for (arm, layer), some in known.groupby(["arm", "layer"]):
        marker = MARKERS[min(layer, len(MARKERS) - 1)]
        colour = arm_looks[arm]["color"]
        axes.scatter(some[x], some[y], s=22, marker=marker, color=colour, alpha=0.7, linewidth=0, zorder=3)
    if known.empty:
        nothing(axes)


def log_derivative(losses: pd.DataFrame, bins: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The derivative of loss by the logarithm of the token index, in nats per unit of ln(index).

    `losses` has columns step, index and loss of one run. Indices are averaged in bins of about equal
    width in ln(index), for single indices are noisy. Returns steps [S], bin edges [B + 1] and derivatives [S, B].
    """
    table = losses.pivot(index="step", columns="index", values="loss").sort_index(axis=1)
    index = table.columns.to_numpy()
    edges = np.unique(np.round(np.geomspace(index[0], index[-1] + 1, bins + 1)))
    which = np.digitize(index, edges) - 1
    members = which[:, None] == np.arange(len(edges) - 1)
    shares = members / members.sum(axis=0)
    derivative = np.gradient(table.to_numpy() @ shares, np.log(index) @ shares, axis=1)
    return table.index.to_numpy(), edges, derivative


def heat(axes: Axes, steps: np.ndarray, edges: np.ndarray, values: np.ndarray, limit: float):
    """A map of values [S, B] over steps and token indices, blue below zero, red above."""
    sides = np.concatenate((steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]))
    mesh = axes.pcolormesh(sides, edges, values.T, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)
    axes.set_yscale("log")
    axes.grid(visible=False)
    return mesh


def path(axes: Axes, x: pd.Series, y: pd.Series, look: dict) -> None:
    """The way of one run through a plane, a small dot a checkpoint: ring at its start, dot at its end."""
    axes.plot(x, y, color=look["color"], linewidth=1, alpha=0.7, marker=".", markersize=3)
    axes.plot(x.iloc[0], y.iloc[0], "o", color=look["color"], markerfacecolor="white", markersize=5)
    axes.plot(x.iloc[-1], y.iloc[-1], "o", color=look["color"], markersize=6)


def plain_log(axis: Axis) -> None:
    """Whole numbers at powers of two along a logarithmic axis."""
    axis.set_major_locator(LogLocator(base=2, numticks=20))
    axis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.set_minor_locator(NullLocator())


def nothing(axes: Axes, why: str = "not scored here") -> None:
    """Say in an empty panel that there is nothing to show."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color="#666666")


def legend(where: Figure | Axes, names: dict[str, dict], columns: int = 4) -> None:
    """A legend, an entry a name: under a figure, or filling axes of its own."""
    handles = [Line2D([], [], label=name, **({"linewidth": 2} | look)) for name, look in names.items()]
    if isinstance(where, Axes):
        where.axis("off")
        where.legend(handles=handles, loc="center")
    else:
        where.legend(handles=handles, loc="outside lower center", ncols=columns)


def arm_names(arms: pd.DataFrame, arm_looks: dict[str, dict]) -> dict[str, dict]:
    """Entries for `legend`: what each model is, in its look."""
    return {arms.label[arm]: look for arm, look in arm_looks.items() if arm in arms.index}


def layer_names(layers: int) -> dict[str, dict]:
    """Entries for `legend`: the layers of a model, counted from 1 for readers."""
    return {f"heads of layer {layer + 1}": {"color": layer_colour(layer)} for layer in range(layers)}


def marker_names(layers: int) -> dict[str, dict]:
    """Entries for `legend`: the markers of layers."""
    markers = [MARKERS[min(layer, len(MARKERS) - 1)] for layer in range(layers)]
    return {
        f"layer {layer + 1}": {"color": "#555555", "marker": marker, "linewidth": 0}
        for layer, marker in enumerate(markers)
    }
