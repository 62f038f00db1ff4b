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
    "full": "zero",
    "full_mean": "mean",
    "full_resample": "resample",
    "pattern_preserving": "zero, patterns kept",
    "pattern_preserving_mean": "mean, patterns kept",
    "pattern_preserving_resample": "resample, patterns kept",
    "norm_matched": "noise of the same length",
}
COLOURS = {"induction": "#0072B2", "random": "#8C8C8C"}


# %% alt="Share of the in-context score lost by joint ablations of induction heads and of random heads"
def draw_joint():
    figure, panels = plt.subplots(1, len(arms), figsize=(10, 4.6), sharey=True, squeeze=False)
    for axes, arm in zip(panels.flat, arms.index, strict=True):
        mine = ablations[(ablations.arm == arm) & ablations.chosen.isin(COLOURS)]
        lost = mine.assign(lost=1 - mine.value / mine.baseline).groupby(["chosen", "edit", "seed"]).lost.mean()
        pairs = [(f"{way}: {chosen}", chosen, edit) for edit, way in WAYS.items() for chosen in COLOURS]
        # Noise is as long as what induction heads say; there is none for others.
        pairs = [pair for pair in pairs if pair[1:] != ("random", "norm_matched")]
        values = {name: lost[lost.index.droplevel("seed") == (chosen, edit)] for name, chosen, edit in pairs}
        plots.plot_strip(axes, values, {name: COLOURS[chosen] for name, chosen, _ in pairs})
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
