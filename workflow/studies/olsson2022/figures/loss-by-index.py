# %%
import matplotlib.pyplot as plt
import numpy as np
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
losses = read.load_run_table("index_losses", results, study, arms, eval_set="heldout", token_class="all")
losses = losses[["arm", "seed", "step", "index", "loss"]]
trajectories = read.load_run_table("trajectories", results, study, arms)
windows = read.find_windows(trajectories, "window_start", "window_end")

# %% [markdown]
# # Loss by token index: how far back a model can use its context
#
# Each point is the mean loss at one position of the context, over the held-out documents. A model that
# learns nothing from its context has a flat curve; one that uses all of it keeps falling to the end. Olsson
# and others find that before the phase change the curve flattens after some 50 tokens, and that after
# it the curve falls all the way: the model keeps finding things to copy.
#
# The shaded index ranges are the two that the in-context score compares.

# %%
display(
    Markdown(
        "**What differs here.** The paper scores contexts of 512 tokens and compares tokens 50 and 500; contexts here "
        f"end at token {losses['index'].max():.0f} (scale: {scale}), so the ranges are compared that the picture "
        "shows. Each curve is drawn for every seed (thin) and for their mean (bold)."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))


# %%
def moments(arm, seed):
    """Steps of two checkpoints: before and after the seed's window; without one, at a quarter and at the end."""
    steps = np.sort(losses.step[(losses.arm == arm) & (losses.seed == seed)].unique())
    window = windows[(windows.arm == arm) & (windows.seed == seed)]
    start, end = (window.start.iloc[0], window.end.iloc[0]) if len(window) else (steps[-1] / 4, steps[-1])
    before = steps[steps <= start].max(initial=steps[0])
    return before, steps[steps >= end].min(initial=steps[-1])


def draw_curves(chosen):
    """A panel for each arm of a task: loss by index before and after."""
    rows = -(-len(chosen) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(10, 2.7 * rows + 0.5), sharex=True, sharey=True, squeeze=False)
    for arm, axes in zip(chosen.index, grid.flat, strict=False):
        mine = losses[losses.arm == arm]
        at = {seed: moments(arm, seed) for seed in chosen.seeds[arm]}
        for which, style in ((0, {"color": "#8C8C8C", "linestyle": "-"}), (1, styles[arm])):
            steps = mine.seed.map({seed: moment[which] for seed, moment in at.items()})
            plots.plot_curves(axes, mine[mine.step == steps], style, "index", "loss")
        pair = read.load_metric_settings(results, study, arm).icl_position_ranges[0]
        for low, high in (pair.early, pair.late):
            axes.axvspan(low - 0.5, high + 0.5, color=plots.WINDOW, alpha=0.4, linewidth=0, zorder=0)
        found = (windows.arm == arm).any()
        axes.set_title(f"{chosen.label[arm]} ({arm})" + ("" if found else ": no window"))
        axes.set_xscale("log")
        plots.format_log_axis(axes.xaxis)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("loss (nats per token)")
    for axes in grid.flat[max(len(chosen) - 3, 0) : len(chosen)]:
        axes.set_xlabel("token index (logarithmic)")
        axes.tick_params(labelbottom=True)
    plots.add_legend(
        figure,
        {
            "before the window (none: a quarter of training)": {"color": "#8C8C8C"},
            "after the window (none: the end)": {"color": styles[chosen.index[-1]]["color"]},
            "compared by the score": {"color": plots.WINDOW, "linewidth": 7},
        },
    )


def draw_maps(chosen):
    """A panel for each arm of a task: the derivative by step and index, first seed."""
    maps = {
        arm: plots.log_derivative(losses[(losses.arm == arm) & (losses.seed == chosen.seeds[arm][0])])
        for arm in chosen.index
    }
    # The first checkpoints know nothing of frequencies yet; they would set the colours alone.
    limit = max(np.quantile(np.abs(values[len(values) // 4 :]), 0.98) for _, _, values in maps.values())
    rows = -(-len(chosen) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(10, 2.5 * rows), sharey=True, squeeze=False)
    for (arm, parts), axes in zip(maps.items(), grid.flat, strict=False):
        mesh = plots.plot_heatmap(axes, *parts, limit)
        for window in windows[(windows.arm == arm) & (windows.seed == chosen.seeds[arm][0])].itertuples():
            axes.axvline(window.start, color="black", linewidth=0.9, linestyle="--")
            axes.axvline(window.end, color="black", linewidth=0.9, linestyle="--")
        axes.set(title=f"{chosen.label[arm]} ({arm})", xlabel="training step")
        plots.format_log_axis(axes.yaxis)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("token index")
    figure.colorbar(mesh, ax=grid, label="d loss / d ln(index), nats", shrink=0.8)


# %% [markdown]
# ## Before and after the phase change
#
# ### Synthetic phrases

# %% alt="Loss by token index before and after the phase change, a panel a model, on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw_curves(phrases)

# %% [markdown]
# ### Source text

# %% alt="Loss by token index before and after the phase change, a panel a model, on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw_curves(text)

# %% [markdown]
# ## How fast the loss falls along the context, at every moment of training
#
# The derivative of the loss by the logarithm of the token index. White: seeing more does not help. Blue: it
# does. The paper's picture turns from white to blue over all late indices at the phase change (between
# the dashed lines). One seed is drawn for each model, the first, for windows of different seeds would blur each
# other.
#
# ### Synthetic phrases

# %% alt="Derivative of loss by log token index as a map over training step and token index, each model on phrases"
if len(phrases):
    draw_maps(phrases)

# %% [markdown]
# ### Source text

# %% alt="Derivative of loss by log token index as a map over training step and token index, each model on source text"
if len(text):
    draw_maps(text)
