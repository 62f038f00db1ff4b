# %%
import math

import matplotlib.pyplot as plt
from IPython.display import HTML

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "singh2024"
scale = "laptop"

# %%
plots.set_style()
SHOWN = ["whole", "one-head", "previous-token", "layer-one", "copy", "layer-one-copy", "match", "one-layer"]
arms = read.load_arms(results, study).loc[SHOWN]
scores = read.load_scores(results, study, arms)
trajectories = read.load_run_table("trajectories", results, study, arms)

# %% [markdown]
# # What needs to go right, one part at a time
#
# A model reads two labelled examples and a query of one of their classes, and is to give the query's label. An
# induction head that can do this has parts that must fit together: labels must learn which exemplar they follow (the
# first layer), the query must **match** its exemplar, and the head must **copy** the label. Singh and others ask which
# part is waited for: they give the model some parts, perfect from the first step on, and let it learn the rest.
#
# If a part alone is left, it is learned at once, exponentially. The plateau and the sudden change come where several
# parts are left that only pay together.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
CLAMPS = {
    "one-head": ("nothing given", {"color": "#000000", "linestyle": "-"}),
    "previous-token": ("a previous-token head", {"color": "#8C8C8C", "linestyle": (0, (4, 1))}),
    "layer-one": ("the first layer", {"color": "#0072B2", "linestyle": "-"}),
    "copy": ("copying", {"color": "#E69F00", "linestyle": (0, (5, 1, 1, 1))}),
    "layer-one-copy": ("the first layer and copying", {"color": "#CC79A7", "linestyle": (0, (2, 1))}),
    "match": ("the match", {"color": "#009E73", "linestyle": (0, (1, 1))}),
}


# %% alt="Loss by training step under every clamp, over all of training and over its first steps on a logarithmic scale"
def draw():
    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    for arm, (_, style) in CLAMPS.items():
        rows = read.select_metric(scores[scores.arm == arm], "query_loss:in_distribution")
        for axes in panels:
            plots.plot_curves(axes, rows, style)
    for axes in panels:
        axes.axhline(math.log(2), color="#AAAAAA", linewidth=0.8)
        axes.set_xlabel("training step")
    end = scores.step[scores.arm == "layer-one"].max()
    panels[0].set(title="Loss; the grey line is guessing between the two labels", ylabel="nats", ylim=(0, 1.5))
    panels[1].set(title="The first steps: an exponential is a straight line", xlim=(0, end), ylim=(0.02, 3))
    panels[1].set_yscale("log")
    plots.add_legend(figure, {name: style for name, style in CLAMPS.values()}, columns=3)


draw()

# %% [markdown]
# ## All heads, and only one layer
#
# Sequences like those of training, with pairs of labels that were held out, and with classes that were held out.


# %% alt="Loss on training sequences, held-out labels and held-out classes, for two layers and for one"
def draw_sets():
    sets = {
        "like those of training": ("in_distribution", {"color": "#000000", "linestyle": "-"}),
        "new pairs of labels": ("relabelled", {"color": "#0072B2", "linestyle": (0, (4, 1))}),
        "new classes": ("novel_classes", {"color": "#E69F00", "linestyle": (0, (5, 1, 1, 1))}),
    }
    figure, panels = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
    for arm, title, axes in zip(("whole", "one-layer"), ("Two layers", "One layer"), panels, strict=True):
        for kind, style in sets.values():
            plots.plot_curves(axes, read.select_metric(scores[scores.arm == arm], f"query_loss:{kind}"), style)
        axes.axhline(math.log(2), color="#AAAAAA", linewidth=0.8)
        axes.set(title=title, xlabel="training step", ylim=(0, 1.6))
    panels[0].set_ylabel("loss in nats")
    plots.add_legend(figure, {name: style for name, (_, style) in sets.items()})


draw_sets()

# %% [markdown]
# ## How long it takes, and how far from an exponential it is
#
# A point is a seed. Left: the step at which the loss reaches four tenths of guessing. Right: how far log loss lies
# above a straight line from its start to where it reaches 0.1. "none": no seed got there.


# %% alt="Steps to learn and distance from an exponential for each clamp, a point a seed"
def draw_shapes():
    names = {arm: name for arm, (name, _) in CLAMPS.items()}
    colours = {name: style["color"] for name, style in CLAMPS.values()}
    _, panels = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True)
    for metric, axes in zip(("learned_step", "log_loss_concavity"), panels, strict=True):
        rows = read.select_metric(trajectories, metric)
        plots.plot_strip(axes, {name: rows.value[rows.arm == arm] for arm, name in names.items()}, colours)
    panels[0].set(title="Learned", xlabel="training step")
    panels[1].set(title="Not exponential", xlabel="units of log loss")


draw_shapes()
