# %%
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "olsson2022"
scale = "laptop"

# %%
plots.set_style()
arms = read.load_arms(results, study, ["repeated_phrases", "source_text"])
styles = plots.choose_line_styles(arms)
trajectories = read.load_run_table("trajectories", results, study, arms)
windows = read.find_windows(trajectories, "window_start", "window_end")

# %% [markdown]
# # Training as a path: where models turn
#
# Take one fixed token of each held-out document and write down a model's loss on all of them: a long list of
# numbers that says what the model can and cannot predict. Each checkpoint gives one list. A principal component
# analysis of all lists of all models together finds the two directions in which they differ most, and
# training becomes a path in this plane. Olsson and others find that models which go through a phase change turn
# sharply there, away from the path of the one-layer model.
#
# Rings are starts, dots are ends; the yellow part of a path is the seed's phase-change window.

# %%
display(
    Markdown(
        "**What differs here.** The paper draws one run of each of 12 models with 200 checkpoints; here each seed of "
        f"each model is a path, with the checkpoints listed below (scale: {scale}). The axes of different tasks, "
        "and of the paper, cannot be compared: each analysis finds its own directions, and their signs mean nothing."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))


# %%
def draw_paths(chosen):
    """Left, all arms of a task together; right, a panel for each."""
    rows = read.load_run_table("loss_components", results, study, chosen)
    wide = rows.pivot(index=["arm", "seed", "step"], columns="component", values="value").dropna().reset_index()
    first, second = sorted(rows.component.unique())[:2] if rows.component.nunique() > 1 else (None, None)
    lines = -(-len(chosen) // 3)
    _, grid = plt.subplots(lines, 3, figsize=(10, 3 * lines), sharex=True, sharey=True, squeeze=False)
    for arm, axes in zip(chosen.index, grid.flat, strict=False):
        axes.set_title(f"{chosen.label[arm]} ({arm})")
        if first is None:
            plots.mark_empty(axes)
            continue
        for other, run in wide.groupby(["arm", "seed"]):
            if other[0] != arm:
                axes.plot(run[first], run[second], color="#DDDDDD", linewidth=0.7, zorder=1)
        for seed, run in wide[wide.arm == arm].groupby("seed"):
            plots.plot_path(axes, run[first], run[second], styles[arm])
            window = windows[(windows.arm == arm) & (windows.seed == seed)]
            for one in window.itertuples():
                inside = run[(run.step >= one.start) & (run.step <= one.end)]
                axes.plot(inside[first], inside[second], color=plots.WINDOW, linewidth=5, alpha=0.8, zorder=1.5)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("second component (nats)")
    for axes in grid.flat[max(len(chosen) - 3, 0) : len(chosen)]:
        axes.set_xlabel("first component (nats)")
        axes.tick_params(labelbottom=True)


def draw_turns(chosen):
    """How sharply each seed turns in its window."""
    turns = read.select_metric(read.load_run_table("series_trajectories", results, study, chosen), "pca_turn_angle")
    _, axes = plt.subplots(figsize=(10, 0.32 * len(chosen) + 0.7))
    values = {chosen.label[arm]: turns.value[turns.arm == arm] for arm in chosen.index}
    plots.plot_strip(axes, values, {chosen.label[arm]: styles[arm]["color"] for arm in chosen.index})
    axes.set(xlabel="turn (degrees)", xlim=(0, 180), xticks=(0, 45, 90, 135, 180))


# %% [markdown]
# ## Synthetic phrases
#
# Grey: the paths of all other models of the same task.

# %% alt="Training paths in the plane of two components of per-token losses, a panel a model, on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw_paths(phrases)

# %% [markdown]
# The angle between the direction of a path before its window and inside it. A straight path has 0 degrees.

# %% alt="Angle of the turn at the phase change, a point a seed, on phrases"
if len(phrases):
    draw_turns(phrases)

# %% [markdown]
# ## Source text

# %% alt="Training paths in the plane of two components of per-token losses, a panel a model, on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw_paths(text)

# %% alt="Angle of the turn at the phase change, a point a seed, on source text"
if len(text):
    draw_turns(text)
