# %%
import matplotlib.pyplot as plt
import pandas as pd
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
scores = read.load_scores(results, study, arms)
interventions = read.load_run_table("ablations", results, study, arms)
interventions["effect"] = interventions.value - interventions.baseline
ablations = interventions[interventions.intervention == "zero"]
trajectories = read.load_run_table("trajectories", results, study, arms)
windows = read.find_windows(trajectories, "window_start", "window_end")

# %% [markdown]
# # Ablation: take heads away and see what is lost
#
# Heads that appear together with an ability need not be its cause. So they are removed: a head's output is
# set to zero, and the in-context score is measured again. It is negative, so a **positive change means that the
# head was helping**. Two kinds of ablation tell two kinds of heads apart:
#
# - **full**: everything after the head reacts to its absence;
# - **pattern-preserving**: all later attention stays where it was, so only what the head itself *writes* is lost.
#
# A previous-token head helps by steering the attention of later heads: its full ablation should hurt, its
# pattern-preserving one should not. An induction head writes the answer: both should hurt.

# %%
display(
    Markdown(
        "**What differs here.** The paper shows heads ablated one at a time, with patterns preserved. Single effects "
        "need not add up, so here the induction heads are also removed all at once, and compared with as many random "
        "other heads, from the same layers where there are enough. Heads are chosen by their scores at the last "
        "checkpoint alone: induction heads by prefix matching, previous-token heads by their previous-token score "
        f"(scale: {scale}, whose `ablate.selections` has the thresholds)."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))


# %%
KINDS = {
    "induction head": {"color": "#CC3311"},
    "previous-token head": {"color": "#0077BB"},
    "other head": {"color": "#AAAAAA"},
}
CHOSEN = {"induction": "induction head", "previous_token": "previous-token head", "random": "other head"}
ABLATIONS = {"recomputed": "full", "frozen_patterns": "pattern-preserving"}
heads = read.pivot_by_head(scores)


def selected(selection):
    """Heads of a selection, as (arm, seed, layer, head)."""
    joint = ablations[ablations.selection == selection][["arm", "seed", "heads"]].drop_duplicates()
    return {
        (row.arm, row.seed, *map(int, name.split(".")))
        for row in joint.itertuples(index=False)
        for name in row.heads.split("+")
    }


induction, previous_token = selected("induction"), selected("previous_token")
kinds = pd.Series(
    [
        "induction head" if head in induction else "previous-token head" if head in previous_token else "other head"
        for head in heads.index
    ],
    index=heads.index,
)


def draw_single(chosen):
    """Each head's effect on the in-context score over training, a row for each arm, a column for each ablation."""
    single = ablations[(ablations.selection == "single") & (ablations.metric == "icl_score")]
    size = (10, 1.6 * len(chosen) + 0.8)
    figure, rows = plt.subplots(len(chosen), 2, figsize=size, sharex="row", sharey="row", squeeze=False)
    for arm, panels in zip(chosen.index, rows, strict=True):
        for (downstream, name), axes in zip(ABLATIONS.items(), panels, strict=True):
            plots.shade_windows(axes, windows[windows.arm == arm])
            mine = single[(single.arm == arm) & (single.downstream == downstream)]
            for key, run in mine.groupby(["seed", "layer", "head"]):
                colour = KINDS[kinds[(arm, *map(int, key))]]["color"]
                axes.plot(run.step, run.effect, color=colour, linewidth=0.9, alpha=0.6)
            axes.set_title(f"{chosen.label[arm]} ({arm}): {name}")
        panels[0].set_ylabel("change (nats)")
    for axes in rows[-1]:
        axes.set_xlabel("training step")
    plots.add_legend(figure, KINDS | {"phase-change window, one a seed": {"color": plots.WINDOW, "linewidth": 7}})


# Name → selection, intervention, and what happens downstream; None: nothing is removed.
SETS = {
    "intact": None,
    "random heads, full": ("random", "zero", "recomputed"),
    "random heads, pattern-preserving": ("random", "zero", "frozen_patterns"),
    "induction heads, full": ("induction", "zero", "recomputed"),
    "induction heads, pattern-preserving": ("induction", "zero", "frozen_patterns"),
    "induction heads, ideal pattern": ("induction", "ideal_induction", "recomputed"),
    "previous-token heads, full": ("previous_token", "zero", "recomputed"),
    "previous-token heads, pattern-preserving": ("previous_token", "zero", "frozen_patterns"),
    "previous-token heads, ideal pattern": ("previous_token", "ideal_previous_token", "recomputed"),
}


def draw_joint(chosen):
    """The in-context score with sets of heads removed, a panel for each arm, a point a seed."""
    scored = read.select_last_checkpoint(interventions[interventions.metric == "icl_score"])
    kind_colours = {selection: KINDS[name]["color"] for selection, name in CHOSEN.items()}
    colours = {name: kind_colours.get(keys[0] if keys else None, "#222222") for name, keys in SETS.items()}
    rows = -(-len(chosen) // 3)
    _, grid = plt.subplots(rows, 3, figsize=(10, 2.5 * rows + 0.2), sharey=True, squeeze=False)
    for arm, axes in zip(chosen.index, grid.flat, strict=False):
        mine = scored[scored.arm == arm]
        by_kind = mine.set_index(["selection", "intervention", "downstream"]).sort_index()
        values = {}
        for name, keys in SETS.items():
            some = mine.assign(value=mine.baseline) if keys is None else by_kind[by_kind.index == keys]
            values[name] = some.groupby("seed").value.mean()
        plots.plot_strip(axes, values, colours)
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.set_title(f"{chosen.label[arm]} ({arm})")
        axes.set_xlabel("in-context score (nats)")
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)


def draw_heads(chosen):
    """Each head's effect against its prefix matching, at the last checkpoint."""
    single = ablations[(ablations.selection == "single") & (ablations.downstream == "frozen_patterns")]
    single = single[single.arm.isin(chosen.index) & single.metric.isin(["icl_score", "before_after"])]
    mine = read.pivot_by_head(scores[scores.arm.isin(chosen.index)], single.assign(value=single.effect))
    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    for metric, axes in zip(("icl_score", "before_after"), panels, strict=True):
        plots.plot_head_points(axes, mine, "prefix_matching", metric, styles)
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_xlabel("prefix matching (attention share)")
    panels[0].set(title="Effect on the in-context score (up: the head helps)", ylabel="change (nats)")
    panels[1].set(title="Along the before-and-after vector (down: undoes the change)", ylabel="projection (nats)")
    points = {name: style | {"marker": "s", "linewidth": 0} for name, style in plots.arm_legend(chosen, styles).items()}
    plots.add_legend(figure, points | plots.marker_legend(chosen.layers.max()))


# %% [markdown]
# ## Synthetic phrases
#
# **One head at a time, over training.** Each line is a head of a seed, coloured by what it is at the end.

# %% alt="Effect of ablating each head on the in-context score, by training step, on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw_single(phrases)

# %% [markdown]
# **Many heads at once, at the end of training.** The in-context score with a set of heads removed; near 0 nothing
# of the ability is left. Each point is a seed (for random heads, the mean of its draws), each bar their mean.
# *Ideal pattern*: the heads stay, but attend exactly as their name promises. "none": no seed has such heads, or not
# enough others to draw from.

# %% alt="In-context score with sets of heads removed: none, random, induction and previous-token heads, on phrases"
if len(phrases):
    draw_joint(phrases)

# %% [markdown]
# **Which heads matter?** On the left, the effect of pattern-preserving ablation on the in-context score. On the right,
# the same ablation's effect along the *before-and-after vector*, the direction in which all per-token losses moved
# in the phase change: negative means that removing the head undoes the change. No direct comparison can be made
# between models, for each has a vector of its own.

# %% alt="Effect of ablating each head against its prefix matching, on phrases"
if len(phrases):
    draw_heads(phrases)

# %% [markdown]
# ## Source text

# %% alt="Effect of ablating each head on the in-context score, by training step, on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw_single(text)

# %% alt="In-context score with sets of heads removed: none, random, induction and previous-token heads, on source text"
if len(text):
    draw_joint(text)

# %% alt="Effect of ablating each head against its prefix matching, on source text"
if len(text):
    draw_heads(text)
