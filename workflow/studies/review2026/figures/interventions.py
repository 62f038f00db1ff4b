# %%
import matplotlib.pyplot as plt

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "review2026"
scale = "laptop"

# %%
plots.set_style()
source = "olsson2022"
arms = read.load_arms(results, source).loc[["attn2", "mlp2"]]
scores = read.load_scores(results, source, arms)
ablations = read.load_run_table("ablations", results, source, arms, metric="icl_score")
attributions = read.load_run_table("attributions", results, source, arms, metric="direct_logit_positive")

# %% [markdown]
# # Ablations and their controls, also with MLPs
#
# The review asks for causal tests in models with MLPs. Here all induction heads are taken out **together**, in
# several ways, beside as many heads drawn at random, and beside noise as long as what the heads say.
#
# Each point is a seed: the share of its in-context score that is lost. 1 is all of it, 0 none; above 1 the score
# turns round.
#
# - *zero*, *mean*, *resample*: the heads' output is replaced by nothing, by its mean over documents, or by that on
#   another document. *Patterns kept*: attention stays as it was, only what flows through values changes.
# - *noise*: nothing is removed; noise of the same length is added where the heads write.

# %%
WAYS = {
    ("zero", "recomputed"): "zero",
    ("mean", "recomputed"): "mean",
    ("resample", "recomputed"): "resample",
    ("zero", "frozen_patterns"): "zero, patterns kept",
    ("mean", "frozen_patterns"): "mean, patterns kept",
    ("resample", "frozen_patterns"): "resample, patterns kept",
    ("norm_matched", "recomputed"): "noise of the same length",
}
COLOURS = {"induction": "#0072B2", "random": "#8C8C8C"}


# %% alt="Share of the in-context score lost by joint ablations of induction heads and of random heads"
def draw_joint():
    figure, panels = plt.subplots(1, len(arms), figsize=(10, 4.6), sharey=True, squeeze=False)
    for axes, arm in zip(panels.flat, arms.index, strict=True):
        mine = ablations[(ablations.arm == arm) & ablations.selection.isin(COLOURS)]
        keys = ["selection", "intervention", "downstream", "seed"]
        lost = mine.assign(lost=1 - mine.value / mine.baseline).groupby(keys).lost.mean()
        ways = [(f"{name}: {selection}", (selection, *way)) for way, name in WAYS.items() for selection in COLOURS]
        # The noise has the norm of the induction heads' output; there is none for other heads.
        ways = [(name, key) for name, key in ways if key[:2] != ("random", "norm_matched")]
        values = {name: lost[lost.index.droplevel("seed") == key] for name, key in ways}
        plots.plot_strip(axes, values, {name: COLOURS[key[0]] for name, key in ways})
        axes.axvline(0, color="#AAAAAA", linewidth=0.8)
        axes.axvline(1, color="#AAAAAA", linewidth=0.8)
        axes.set(title=f"{arms.label[arm]} ({arm})", xlabel="share of the in-context score lost")
    plots.add_legend(figure, {name: {"color": c, "marker": "s", "linewidth": 0} for name, c in COLOURS.items()})


draw_joint()

# %% [markdown]
# ## Do induction heads complete repeats?
#
# The axiom behind it all: on repeated random tokens, a head that prefix-matches raises the logit of the token that
# came next the last time. Each point is a head of a seed at the end of training.


# %% alt="Share of places where a head raises the token that came next, by its prefix matching"
def draw_axiom():
    styles = {"attn2": {"color": "#0072B2"}, "mlp2": {"color": "#009E73"}}
    _, axes = plt.subplots(figsize=(5.6, 3.8))
    plots.plot_head_points(
        axes, read.pivot_by_head(scores, attributions), "prefix_matching", "direct_logit_positive", styles
    )
    axes.axhline(0.5, color="#AAAAAA", linewidth=0.8)
    axes.set(xlabel="prefix matching", ylabel="share of places raised", ylim=(-0.03, 1.03))
    for arm, style in styles.items():
        axes.plot([], [], marker="s", linewidth=0, label=arms.label[arm], **style)
    axes.legend(loc="lower right")


draw_axiom()
