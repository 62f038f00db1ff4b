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
KINDS = {
    "all of it to learn": ("one-head", "whole-"),
    "part B alone (the match)": ("layer-one-copy", "b-"),
    "part C alone (the copy)": ("match", "c-"),
}
ROWS = {
    "classes": {"50": "", "200": "classes200"},
    "labels": {"5": "", "10": "labels10", "15": "labels15"},
}
VARIANTS = [name for names in ROWS.values() for name in names.values() if name]
SHOWN = [arm for free, ending in KINDS.values() for arm in (free, *(ending + name for name in VARIANTS))]
arms = read.load_arms(results, study).loc[[*SHOWN, "graft-own", "graft-other"]]
scores = read.load_scores(results, study, arms)

# %% [markdown]
# # Which part of the circuit the data delay
#
# More classes to tell apart, or more labels to copy: both delay the whole circuit. Which of its parts is it?
# Singh and others find that, with everything else given, **more classes slow down the match and leave the copy alone,
# more labels the reverse**.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
STYLES = (
    {"color": "#56B4E9", "linestyle": "-"},
    {"color": "#0072B2", "linestyle": (0, (4, 1))},
    {"color": "#08306B", "linestyle": (0, (1, 1))},
)


# %% alt="Loss by training step for several numbers of classes and of labels; the whole circuit and each part alone"
def draw_grid():
    figure, panels = plt.subplots(2, 3, figsize=(10, 5), sharex="col", sharey=True)
    for row, (what, names) in zip(panels, ROWS.items(), strict=True):
        for axes, (title, (free, ending)) in zip(row, KINDS.items(), strict=True):
            for (number, name), style in zip(names.items(), STYLES, strict=False):
                arm = ending + name if name else free
                plots.plot_curves(
                    axes, read.select_metric(scores[scores.arm == arm], "query_loss:in_distribution"), style
                )
                axes.plot([], [], label=f"{number} {what}", **style)
            axes.set(title=title, ylim=(0, 1.8))
        row[0].set_ylabel("loss in nats")
        row[-1].legend(loc="upper right")
    for axes in panels[-1]:
        axes.set_xlabel("training step")
    for column, (free, ending) in enumerate(KINDS.values()):
        own = scores[scores.arm.isin([free, *(ending + name for name in VARIANTS)])]
        panels[0, column].set_xlim(0, own.step.max())


draw_grid()

# %% [markdown]
# ## Another model's first layer
#
# The first layer of a trained model, frozen, is given to a model that starts anew: one that began with the same
# weights as the giver, or one that began with others. A perfect first layer is of no use if the second cannot read it:
# a reason to give activations, as the clamps do, and not weights.


# %% alt="Loss by training step with a trained first layer of the own seed and of another"
def draw_grafts():
    names = {
        "of the same beginning": ("graft-own", {"color": "#009E73", "linestyle": "-"}),
        "of another": ("graft-other", {"color": "#C04A00", "linestyle": (0, (4, 1))}),
        "none": ("one-head", {"color": "#8C8C8C", "linestyle": (0, (1, 1))}),
    }
    _, axes = plt.subplots(figsize=(6, 3))
    for name, (arm, style) in names.items():
        plots.plot_curves(axes, read.select_metric(scores[scores.arm == arm], "query_loss:in_distribution"), style)
        axes.plot([], [], label=name, **style)
    axes.set(title="First layer", xlabel="training step", ylabel="loss in nats", ylim=(0, 1.8))
    axes.legend(loc="upper right")


draw_grafts()
