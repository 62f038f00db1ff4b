"""Pieces of figures: each function draws one thing into given axes.

An arm has the same colour in every figure: blue for attention alone, orange for smeared
keys, green for MLPs, darker with every layer; line styles repeat the distinction. Layers
of one model go from grey to purple. Colour-blind readers can distinguish all of them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

PLAIN = ("#56B4E9", "#0072B2", "#08306B", "#000000")
SMEARED = ("#E69F00", "#C04A00", "#7F2704", "#3F1402")
MLP = ("#66C2A4", "#009E73", "#00573F", "#003024")
LAYERS = ("#8C8C8C", "#CC79A7", "#6A3D9A", "#000000")
MARKERS = ("o", "^", "s", "D")
WINDOW = "#F0E442"
"""Colour of phase-change windows."""
GREY = "#666666"
"""Colour of remarks in a panel."""

LineStyle = dict[str, Any]
"""Arguments of `Axes.plot`: at least `color`."""


def set_style() -> None:
    """Set matplotlib's parameters for all figures: legible where a page is as wide as the figure."""
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


def choose_line_styles(arms: pd.DataFrame) -> dict[str, LineStyle]:
    """Choose a colour and a line style for each arm.

    Args:
        arms: Rows of `read.load_arms`.

    Returns:
        Arm → its line style.
    """
    return {arm.Index: _choose_line_style(arm.layers, arm.smeared, arm.mlp) for arm in arms.itertuples()}


def _choose_line_style(layers: int, smeared: bool, mlp: bool) -> LineStyle:
    family, line = (MLP, (0, (5, 1, 1, 1))) if mlp else (SMEARED, (0, (4, 1))) if smeared else (PLAIN, "-")
    return {"color": family[min(layers, len(family)) - 1], "linestyle": line}


def layer_colour(layer: int) -> str:
    """Choose the colour of a model's layer.

    Args:
        layer: Counted from 0.

    Returns:
        A hexadecimal colour.
    """
    return LAYERS[min(layer, len(LAYERS) - 1)]


def plot_curves(axes: Axes, rows: pd.DataFrame, style: LineStyle, x: str = "step", y: str = "value") -> None:
    """Plot a thin line for each seed, and a bold one for their mean where every seed has a value.

    Args:
        axes: Where to draw.
        rows: Rows with column seed and the columns `x` and `y`.
        style: The arm's line style.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
    """
    for _, run in rows.groupby("seed"):
        axes.plot(run[x], run[y], color=style["color"], linewidth=0.7, alpha=0.5)
    means = rows.groupby(x)[y].agg(["mean", "size"])
    means = means["mean"][means["size"] == rows.seed.nunique()]
    axes.plot(means.index, means, linewidth=2, **style)


def plot_head_curves(axes: Axes, rows: pd.DataFrame) -> None:
    """Plot a thin line for every head of every seed, coloured by layer; later layers are in front.

    Args:
        axes: Where to draw.
        rows: Rows with columns seed, layer, head, step and value.
    """
    for (layer, _, _), run in rows.groupby(["layer", "head", "seed"]):
        colour = layer_colour(int(layer))
        axes.plot(run.step, run.value, color=colour, linewidth=0.8, alpha=0.55, zorder=2 + 0.1 * layer)


def shade_windows(axes: Axes, windows: pd.DataFrame) -> None:
    """Shade each run's window; darker where windows overlap.

    Args:
        axes: Where to draw.
        windows: Rows of `read.find_windows`.
    """
    for window in windows.itertuples():
        alpha = 0.75 / max(len(windows), 1)
        axes.axvspan(window.start, window.end, color=WINDOW, alpha=alpha, linewidth=0, zorder=0)


def plot_strip(axes: Axes, values: Mapping[str, Iterable[float]], colours: Mapping[str, str]) -> None:
    """Plot a row of points for each name, top to bottom, with a bar at the mean.

    Args:
        axes: Where to draw.
        values: Name → a value for each seed.
        colours: Name → its colour.
    """
    for y, (name, points) in enumerate(values.items()):
        points = np.sort(np.asarray(list(points), dtype=float))
        points = points[np.isfinite(points)]
        spread = y + np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else np.full(len(points), y)
        axes.scatter(points, spread, s=16, color=colours[name], alpha=0.75, linewidth=0, zorder=3)
        if len(points):
            axes.vlines(points.mean(), y - 0.32, y + 0.32, color=colours[name], linewidth=2)
        else:
            axes.annotate("none", (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center", color=GREY)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def plot_head_points(axes: Axes, heads: pd.DataFrame, x: str, y: str, styles: Mapping[str, LineStyle]) -> None:
    """Plot a point for each head: its colour is that of the arm, its marker that of the layer.

    A panel without points is marked as empty.

    Args:
        axes: Where to draw.
        heads: Rows of `read.pivot_by_head`.
        x: Metric of the horizontal axis.
        y: Metric of the vertical axis.
        styles: Arm → its line style.
    """
    known = heads.reindex(columns=[x, y]).dropna().reset_index()
    for (arm, layer), some in known.groupby(["arm", "layer"]):
        marker = MARKERS[min(layer, len(MARKERS) - 1)]
        colour = styles[arm]["color"]
        axes.scatter(some[x], some[y], s=22, marker=marker, color=colour, alpha=0.7, linewidth=0, zorder=3)
    # Numbers of five digits on ten ticks would overlap in a narrow panel.
    axes.locator_params(axis="x", nbins=5)
    if known.empty:
        mark_empty(axes)


def log_derivative(losses: pd.DataFrame, bins: int = 14) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the derivative of loss by the logarithm of the token index.

    Indices are averaged in bins of about equal width in ln(index), because single indices are noisy.

    Args:
        losses: Columns step, index and loss (nats) of one run.
        bins: Number of bins at most.

    Returns:
        Steps [S], bin edges [B + 1], and derivatives [S, B] in nats per unit of ln(index).
    """
    table = losses.pivot(index="step", columns="index", values="loss").sort_index(axis=1)
    index = table.columns.to_numpy()
    edges = np.unique(np.round(np.geomspace(index[0], index[-1] + 1, bins + 1)))
    bin_of_index = np.digitize(index, edges) - 1
    members = bin_of_index[:, None] == np.arange(len(edges) - 1)
    shares = members / members.sum(axis=0)
    derivative = np.gradient(table.to_numpy() @ shares, np.log(index) @ shares, axis=1)
    return table.index.to_numpy(), edges, derivative


def plot_heatmap(axes: Axes, steps: np.ndarray, edges: np.ndarray, values: np.ndarray, limit: float) -> QuadMesh:
    """Plot values over steps and token indices, blue below zero, red above.

    Args:
        axes: Where to draw.
        steps: Steps [S].
        edges: Edges of bins of token indices [B + 1].
        values: Values [S, B].
        limit: Absolute value of the strongest colour.

    Returns:
        The mesh, for a colour bar.
    """
    sides = np.concatenate((steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]))
    mesh = axes.pcolormesh(sides, edges, values.T, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)
    axes.set_yscale("log")
    axes.grid(visible=False)
    return mesh


def plot_path(axes: Axes, x: pd.Series, y: pd.Series, style: LineStyle) -> None:
    """Plot the path of one run through a plane, a small dot for each checkpoint: ring at its start, dot at its end.

    Args:
        axes: Where to draw.
        x: Horizontal coordinate of each checkpoint.
        y: Vertical coordinate of each checkpoint.
        style: The arm's line style.
    """
    axes.plot(x, y, color=style["color"], linewidth=1, alpha=0.7, marker=".", markersize=3)
    axes.plot(x.iloc[0], y.iloc[0], "o", color=style["color"], markerfacecolor="white", markersize=5)
    axes.plot(x.iloc[-1], y.iloc[-1], "o", color=style["color"], markersize=6)


def format_log_axis(axis: Axis) -> None:
    """Label a logarithmic axis with whole numbers at powers of two.

    Args:
        axis: The axis.
    """
    axis.set_major_locator(LogLocator(base=2, numticks=20))
    axis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.set_minor_locator(NullLocator())


def mark_empty(axes: Axes, why: str = "not scored here") -> None:
    """Write into an empty panel why it has no data.

    Args:
        axes: The panel.
        why: The text.
    """
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)


def add_legend(target: Figure | Axes, entries: Mapping[str, LineStyle], columns: int = 4) -> None:
    """Add a legend under a figure, or fill axes with it.

    Args:
        target: A figure or axes.
        entries: Label → line style.
        columns: Number of columns under a figure.
    """
    width: LineStyle = {"linewidth": 2}
    handles = [Line2D([], [], label=name, **(width | style)) for name, style in entries.items()]
    if isinstance(target, Axes):
        target.axis("off")
        target.legend(handles=handles, loc="center")
    else:
        target.legend(handles=handles, loc="outside lower center", ncols=columns)


def arm_legend(arms: pd.DataFrame, styles: Mapping[str, LineStyle]) -> dict[str, LineStyle]:
    """List the legend's entries for arms.

    Args:
        arms: Rows of `read.load_arms`.
        styles: Arm → its line style.

    Returns:
        The model in words → its line style.
    """
    return {arms.label[arm]: style for arm, style in styles.items() if arm in arms.index}


def layer_legend(layers: int) -> dict[str, LineStyle]:
    """List the legend's entries for the colours of layers.

    Args:
        layers: Number of layers.

    Returns:
        Label, where layers are counted from 1 → line style.
    """
    return {f"heads of layer {layer + 1}": {"color": layer_colour(layer)} for layer in range(layers)}


def marker_legend(layers: int) -> dict[str, LineStyle]:
    """List the legend's entries for the markers of layers.

    Args:
        layers: Number of layers.

    Returns:
        Label, where layers are counted from 1 → style of the marker.
    """
    markers = [MARKERS[min(layer, len(MARKERS) - 1)] for layer in range(layers)]
    return {
        f"layer {layer + 1}": {"color": "#555555", "marker": marker, "linewidth": 0}
        for layer, marker in enumerate(markers)
    }
