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
arms = read.load_arms(results, study, ["synonyms"])
scores = read.load_scores(results, study, arms)
threshold = read.load_metric_settings(results, study, arms.index[0]).induction_threshold

# %% [markdown]
# # Do induction heads match tokens, or what they stand for?
#
# In large models, Olsson and others find heads that continue a passage in one language from its translation in
# another: the same thing as induction, but the match is of meanings. Here documents are written in two artificial
# languages. Every meaning has one word in each; phrases come back in either language, and the two words of a meaning
# have nothing in common but the part that they play.
#
# Heads are shown a list of random words, and then either the **same list again** (prefix matching) or its
# **translation** (fuzzy matching), in which no token comes back. An induction head for meanings looks at what
# followed the *meaning*. The control is a translation **in another order**: attention to the very same places, where
# nothing matches.

# %%
display(
    Markdown(
        "**What differs here.** The paper shows heads of a model of 13 billion parameters on natural languages, as "
        f"examples. Here are all heads of every seed of a small model (scale: {scale}), on languages that are "
        "translations of each other word for word."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
MATCHES = {
    "prefix_matching": ("the same words", {"color": "#0072B2", "linestyle": "-"}),
    "translation_prefix_matching": ("their translation", {"color": "#CC3311", "linestyle": (0, (4, 1))}),
    "translation_prefix_matching_shuffled": (
        "translation in another order",
        {"color": "#8C8C8C", "linestyle": (0, (1, 1))},
    ),
}


# %% alt="Attention to what followed the same word, its translation, and a control: best head by step, each head"
def draw():
    """Left, the best head of each kind over training; right, each head at the end."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    for metric, (_, style) in MATCHES.items():
        plots.plot_curves(panels[0], read.max_over_heads(scores, metric), style)
    panels[0].set(title="Best head", xlabel="training step", ylabel="attention share", ylim=(-0.03, 1))
    heads = read.pivot_by_head(scores)
    plots.plot_head_points(
        panels[1], heads, "prefix_matching", "translation_prefix_matching", plots.choose_line_styles(arms)
    )
    panels[1].axvline(threshold, color="#AAAAAA", linewidth=0.8)
    panels[1].axline((0, 0), slope=1, color="#AAAAAA", linewidth=0.8)
    panels[1].set(title="Each head at the end", xlabel="prefix matching", ylabel="fuzzy matching")
    panels[1].set(xlim=(-0.03, 1), ylim=(-0.03, 1))
    plots.add_legend(figure, {name: style for name, style in MATCHES.values()} | plots.marker_legend(arms.layers.max()))


draw()

# %% [markdown]
# On the diagonal a head attends to a translation as to the words themselves. A head far above it matches translations
# alone.
#
# ## What is lost without them
#
# In-context score at the end of training with sets of heads removed, all at once, attention kept as it was. A point
# is a seed; near 0 nothing of the ability is left.


# %% alt="In-context score intact, and without induction heads or as many random others, a point a seed"
def draw_joint():
    ablations = read.load_run_table(
        "ablations", results, study, arms, metric="icl_score", intervention="zero", downstream="frozen_patterns"
    )
    ablations = ablations[ablations.selection.isin(["random", "induction"])]
    values = {"intact": ablations.groupby("seed").baseline.mean()}
    for name, chosen in (("without random heads", "random"), ("without induction heads", "induction")):
        values[name] = ablations[ablations.selection == chosen].groupby("seed").value.mean()
    colours = dict(zip(values, ("#222222", "#AAAAAA", "#CC3311"), strict=True))
    _, axes = plt.subplots(figsize=(10, 1.7))
    plots.plot_strip(axes, values, colours)
    axes.axvline(0, color="#999999", linewidth=0.8)
    axes.set_xlabel("in-context score (nats)")


draw_joint()
