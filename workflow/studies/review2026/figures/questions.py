# %%
import matplotlib.pyplot as plt
from IPython.display import HTML

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "review2026"
scale = "laptop"

# %%
plots.set_style()
arms = read.load_arms(results, study, ["icl_questions"])
scores = read.load_scores(results, study, arms)
ablations = read.load_run_table("ablations", results, study, arms, intervention="zero", downstream="frozen_patterns")

# %% [markdown]
# # Which questions are answered by induction heads?
#
# If the rule that induction heads follow, find a match and copy what came next, is behind much of what models do with
# their context, then taking these heads away should take most of it away. One model has learned five kinds of
# questions, each answered by the document itself:
#
# - **repeat**: a list of random words comes again; what is next?
# - **recall**: keys have random values; what was this key's?
# - **synonym**: the same, but asked by the key's synonym.
# - **mapping**: keys never come twice; their values follow one of four rules. Which, the document must show.
# - **majority**: words have labels, most of them the same one; which?
#
# The first three can be answered by copying what followed a match, the last two cannot.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %% [markdown]
# ## The picture
#
# **Skill** is the probability of the right answer, on a scale from chance (0) to certainty (1). Each point is a
# seed. Heads are removed all at once: their output is set to zero, and all attention stays as it was.

# %%
KINDS = ("repeat", "recall", "synonym", "mapping", "majority")
WAYS = {"intact": "#222222", "without random heads": "#AAAAAA", "without induction heads": "#CC3311"}


# %% alt="Skill for five kinds of questions, intact, without random heads, and without induction heads, a point a seed"
def draw_skill():
    figure, panels = plt.subplots(1, len(KINDS), figsize=(10, 2.3), sharex=True, sharey=True)
    for kind, axes in zip(KINDS, panels, strict=True):
        mine = ablations[
            (ablations.metric == f"answer_probability:{kind}") & ablations.selection.isin(["random", "induction"])
        ]
        values = {"intact": mine.groupby("seed").baseline.mean()}
        for name, chosen in (("without random heads", "random"), ("without induction heads", "induction")):
            values[name] = mine[mine.selection == chosen].groupby("seed").value.mean()
        plots.plot_strip(axes, values, WAYS)
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.set(title=kind, xlabel="answer probability", xlim=(-0.4, 1.05))


draw_skill()

# %% [markdown]
# ## Learning them
#
# Left: skill over training. Right: the best head's prefix matching on repeated random words. Thin lines are seeds.

# %%
COLOURS = ("#0072B2", "#56B4E9", "#6A3D9A", "#009E73", "#E69F00")
LINES = ("-", (0, (4, 1)), (0, (5, 1, 1, 1)), (0, (2, 1)), (0, (1, 1)))
STYLES = {kind: {"color": colour, "linestyle": line} for kind, colour, line in zip(KINDS, COLOURS, LINES, strict=True)}


# %% alt="Skill for five kinds of questions and best prefix matching, by training step"
def draw_learning():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharex=True)
    for kind, style in STYLES.items():
        plots.plot_curves(panels[0], read.select_metric(scores, f"answer_probability:{kind}"), style)
    plots.plot_curves(panels[1], read.max_over_heads(scores, "prefix_matching"), {"color": "#CC3311", "linestyle": "-"})
    panels[0].set(title="Skill", xlabel="training step", ylabel="0 chance, 1 certainty", ylim=(-0.05, 1.02))
    panels[1].set(title="Best head", xlabel="training step", ylabel="prefix matching", ylim=(-0.03, 1))
    plots.add_legend(figure, STYLES)


draw_learning()
