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
arms = read.load_arms(results, study)
arms = arms[arms.task == "bigram_mixture"]
scores = read.load_scores(results, study, arms)
STYLES = {
    "topics-free": ("free", {"color": "#0072B2", "linestyle": "-"}),
    "topics-smeared": ("sped up: keys may look one token back", {"color": "#C04A00", "linestyle": (0, (4, 1))}),
    "topics-blocked": ("blocked: keys cannot carry the token before", {"color": "#000000", "linestyle": (0, (1, 1))}),
    "topics-masked": ("masked: nothing to gain from copying", {"color": "#009E73", "linestyle": (0, (5, 1, 1, 1))}),
}

# %% [markdown]
# # What is context worth without induction heads?
#
# If induction heads are *the* mechanism of in-context learning, a model that cannot form them should gain little
# from context, whatever there is to learn in it. If they are one mechanism among others, it should lose just
# what they do: copying.
#
# Documents here hold two things to learn from context. **Phrases** come back word for word: whoever finds the
# earlier occurrence can copy. And each document follows one of several tables, unnamed, that say which token may
# follow which: a pair of tokens that was never shown can only be predicted by **inferring** the table from the rest.
#
# Both are measured by taking context away: the first part of the document is swapped for that of another document,
# and the loss on the same late tokens compared. What the true context saves, in nats a token, is what it is worth.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %% [markdown]
# ## The picture
#
# Left: do induction heads form? Middle: what context is worth on tokens that can be copied. Right: on tokens that
# can only be inferred. Thin lines are seeds, bold ones their mean.
#
# How to read it: *blocked* and *masked* models have no induction heads (left). If the strong form of the hypothesis
# is right, their lines lie near zero in the middle **and** on the right. If only copying needs induction heads, they
# lie near zero in the middle alone.


# %% alt="Best prefix matching, worth of context for copying and for inference by training step, for four treatments"
def draw(donor):
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.8))
    for arm, (_, style) in STYLES.items():
        mine = scores[scores.arm == arm]
        plots.plot_curves(panels[0], read.max_over_heads(mine, "prefix_matching"), style)
        for axes, metric in zip(panels[1:], ("context_swap:copied", "context_swap:inferred"), strict=True):
            rows = read.select_metric(mine, f"{metric}:{donor}")
            plots.plot_curves(axes, rows.assign(value=-rows.value), style)
    panels[0].set(title="Best head's prefix matching", ylabel="attention share", ylim=(-0.03, 1))
    panels[1].set(title="Copying: worth of context", ylabel="nats per token")
    panels[2].set(title="Inference: worth of context", ylabel="nats per token")
    for axes in panels:
        axes.set_xlabel("training step")
        axes.axhline(0, color="#888888", linewidth=0.8)
    plots.add_legend(figure, {name: style for name, style in STYLES.values()}, columns=2)


draw("other_table")

# %% [markdown]
# ## The control: a donor of the same table
#
# Swapping in a document that follows the *same* table takes the phrases away but not the table. What is inferred
# should survive (right, near zero), what is copied should not (middle, as above).

# %% alt="The same with donors of the same table"
draw("same_table")

# %% [markdown]
# ## The document's own table
#
# How much likelier, in nats, the model finds tokens that its document's own table allows than those of another
# table, where no copying can help: early in the document (dashed) and late (solid). The distance is what was inferred.


# %% alt="Advantage of the document's own table, early and late in the document, by training step"
def draw_advantage():
    figure, panels = plt.subplots(1, len(STYLES), figsize=(10, 3), sharey=True)
    for axes, (arm, (name, style)) in zip(panels, STYLES.items(), strict=True):
        mine = scores[scores.arm == arm]
        for when, line in (("early", "--"), ("late", "-")):
            rows = read.select_metric(mine, f"topic_log_odds:{when}")
            plots.plot_curves(axes, rows, {"color": style["color"], "linestyle": line})
        axes.set(title=name.split(":")[0], xlabel="training step")
    panels[0].set_ylabel("nats")
    plots.add_legend(figure, {w: {"color": "#444444", "linestyle": s} for w, s in (("early", "--"), ("late", "-"))})


draw_advantage()
