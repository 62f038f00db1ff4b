# %%
import matplotlib.pyplot as plt
from IPython.display import HTML

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "singh2024"
scale = "laptop"

# %%
plots.set_style()
arms = read.load_arms(results, study).loc[["whole"]]
scores = read.load_scores(results, study, arms)
ablations = read.load_run_table("ablations", results, study, arms)

# %% [markdown]
# # Several heads do the same, and add up
#
# A model whose eight heads of the second layer all learned freely, taken apart at the end of training. An **induction
# head's strength** is how much more it looks from the query at the right label than at the wrong one. Singh and others
# find that silencing any one head costs next to nothing, that the strongest alone nearly solves the task, and that
# every further head lowers the loss.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
SEEDS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C8C8C", "#C04A00", "#6A3D9A", "#7F2704")
last = read.select_last_checkpoint(ablations[ablations.metric == "query_accuracy:in_distribution"])
strength = read.select_last_checkpoint(read.select_metric(scores[scores.layer == 1], "induction_strength"))
strength = strength.astype({"head": int}).set_index(["seed", "head"]).value


def of_heads(rows):
    """Values of the second layer's heads by seed and head."""
    return rows[rows.layer == 1].astype({"head": int}).set_index(["seed", "head"]).value


def points(axes, x, y):
    """A point a head, a colour a seed."""
    for seed, some in y.groupby("seed"):
        axes.scatter(x.reindex(some.index), some, s=18, color=SEEDS[seed % len(SEEDS)], alpha=0.8, linewidth=0)


# %% alt="Accuracy of each head alone against its strength, accuracy without each head, and loss as heads are added"
def draw_heads():
    _, panels = plt.subplots(1, 3, figsize=(10, 3.2))
    points(panels[0], strength, of_heads(last[last.selection == "all_but"]))
    points(panels[1], strength, of_heads(last[last.selection == "single"]))
    added = read.select_last_checkpoint(
        ablations[(ablations.metric == "query_loss:in_distribution") & (ablations.selection == "strongest")]
    )
    for seed, run in added.groupby("seed"):
        panels[2].plot(run.k, run.value, color=SEEDS[seed % len(SEEDS)], marker=".", linewidth=1)
    panels[2].set_yscale("log")
    panels[0].set(title="Each head alone", xlabel="strength", ylabel="accuracy", ylim=(0, 1.02))
    panels[1].set(title="All but this head", xlabel="strength", ylim=(0, 1.02))
    panels[2].set(title="Heads added, strongest first", xlabel="heads", ylabel="loss in nats")


draw_heads()

# %% [markdown]
# A colour is a seed.
#
# ## What the first layer says itself
#
# What the model loses when the first layer's direct part, around the second layer, is taken away: does it help early in
# training, and at the end?


# %% alt="Nats lost without the first layer's direct part, by training step"
def draw_direct():
    direct = ablations[(ablations.selection == "layer") & (ablations.downstream == "frozen_patterns_and_values")]
    direct = direct[(direct.metric == "query_loss:in_distribution") & (direct.layer == 0)]
    _, axes = plt.subplots(figsize=(6, 2.6))
    plots.plot_curves(axes, direct.assign(value=direct.value - direct.baseline), {"color": "#0072B2", "linestyle": "-"})
    axes.axhline(0, color="#AAAAAA", linewidth=0.8)
    axes.set(title="Without the first layer's direct part", xlabel="training step", ylabel="nats lost")


draw_direct()
