# %%
import matplotlib.pyplot as plt
import numpy as np
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
last = read.select_last_checkpoint(ablations[ablations.metric == "query_accuracy:in_distribution"])

# %% [markdown]
# # Which head serves which
#
# One head of the first layer and one of the second are left to speak, all others are silent, for every pair. With the
# second layer's **values kept**, the first layer's head can only shape where the second looks; with its **patterns
# kept**, only what it copies. Guessing between the two labels gives 0.5. If heads were wired in pairs, every row and
# column would have one dark field.

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
KEPT = {"frozen_values": "values kept", "frozen_patterns": "patterns kept"}
previous = read.select_last_checkpoint(read.select_metric(scores[scores.layer == 0], "label_to_exemplar"))


# %% alt="Accuracy with one head of each layer left, for all pairs, each seed, with values or with patterns kept"
def draw_wires():
    seeds = sorted(last.seed.unique())
    figure, panels = plt.subplots(2, len(seeds), figsize=(2 * len(seeds), 4.4), squeeze=False)
    for row, (downstream, name) in zip(panels, KEPT.items(), strict=True):
        for axes, seed in zip(row, seeds, strict=True):
            wires = last[(last.selection == "wire") & (last.downstream == downstream) & (last.seed == seed)]
            table = wires.pivot(index="source_head", columns="head", values="value")
            image = axes.imshow(table, cmap="Purples", vmin=0.2, vmax=1)
            styles = previous[(previous.seed == seed) & (previous.value > 0.4)]["head"].astype(int)
            axes.set_yticks(
                np.arange(len(table)), [f"{h:.0f}*" if h in set(styles) else f"{h:.0f}" for h in table.index]
            )
            axes.set_xticks(np.arange(len(table.columns)), [f"{h:.0f}" for h in table.columns])
            axes.grid(visible=False)
            axes.set_title(f"seed {seed}, {name}")
    for axes in panels[:, 0]:
        axes.set_ylabel("head of layer 1")
    for axes in panels[-1]:
        axes.set_xlabel("head of layer 2")
    figure.colorbar(image, ax=panels, label="accuracy", shrink=0.6)


draw_wires()

# %% [markdown]
# \* a previous-token head: labels give their exemplar more than 0.4 of its attention.
#
# ## Keys, and values
#
# Previous-token heads, or all others of the first layer, are silenced together. If accuracy survives with patterns
# kept, it was the patterns that they served; if with values kept, the values.


# %% alt="Accuracy without previous-token heads and without the others, with patterns or values kept, a point a seed"
def draw_parts():
    _, panels = plt.subplots(1, 2, figsize=(10, 1.9), sharex=True, sharey=True)
    titles = {"previous_token": "Without previous-token heads", "others": "Without the other heads"}
    colours = {"patterns kept": "#0072B2", "values kept": "#E69F00", "neither": "#8C8C8C"}
    kept = {"patterns kept": "frozen_patterns", "values kept": "frozen_values", "neither": "recomputed"}
    for axes, (selection, title) in zip(panels, titles.items(), strict=True):
        mine = last[last.selection == selection]
        plots.plot_strip(
            axes, {name: mine.value[mine.downstream == downstream] for name, downstream in kept.items()}, colours
        )
        axes.set(title=title, xlabel="accuracy", xlim=(0, 1.03))


draw_parts()
