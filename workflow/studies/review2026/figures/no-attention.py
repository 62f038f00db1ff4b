# %%
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "review2026"
scale = "laptop"

# %%
plots.set_style()
NETWORKS = {
    ("olsson2022", "attn2"): ("two layers of attention", {"color": "#0072B2", "linestyle": "-"}),
    ("olsson2022", "attn1"): ("one layer of attention", {"color": "#56B4E9", "linestyle": "-"}),
    ("review2026", "gated-linear2"): ("gated linear recurrence", {"color": "#CC79A7", "linestyle": (0, (4, 1))}),
    ("review2026", "gru2"): ("GRU", {"color": "#000000", "linestyle": (0, (1, 1))}),
}
known = {key: read.load_arms(results, key, ["repeated_phrases"]) for key in dict.fromkeys(key for key, _ in NETWORKS)}
chosen = {run: known[run[0]].loc[[run[1]]] for run in NETWORKS}
scores = {run: read.load_scores(results, run[0], arm) for run, arm in chosen.items()}

# %% [markdown]
# # Does copying come without attention?
#
# The review asks whether networks without attention develop circuits like these. There are no heads to look at in
# them, so what they do is measured: on random tokens repeated, how much better are later repeats predicted than the
# first? And does the in-context score jump?
#
# Both recurrences have as many parameters as two layers of attention, see the same documents in the same order, and
# keep one vector of state per layer. The gated linear one sees the last few tokens through a short convolution, as
# smeared keys let attention do.

# %%
HTML(read.summarise_arms(pd.concat(chosen.values())).to_html(index=False, border=0))


# %% alt="Gain on repeated random tokens and in-context score by training step, for attention and recurrences"
def draw():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharex=True)
    for run, (_, style) in NETWORKS.items():
        plots.plot_curves(panels[0], read.select_metric(scores[run], "repeated_sequence_gain"), style)
        plots.plot_curves(panels[1], read.select_metric(scores[run], "icl_score"), style)
    panels[0].set(title="What a repeat of random tokens is worth", ylabel="nats per token")
    panels[1].set(title="In-context score (lower: more)", ylabel="nats per token")
    for axes in panels:
        axes.set_xlabel("training step")
        axes.axhline(0, color="#888888", linewidth=0.8)
    plots.add_legend(figure, {name: style for name, style in NETWORKS.values()}, columns=2)


draw()
