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
TREATMENTS = {
    ("olsson2022", "attn2"): ("free", {"color": "#0072B2", "linestyle": "-"}),
    ("olsson2022", "smeared2"): ("earlier: smeared keys", {"color": "#C04A00", "linestyle": (0, (4, 1))}),
    ("review2026", "previous-token"): ("earlier: a previous-token head given", {"color": "#E69F00", "linestyle": "-"}),
    ("review2026", "no-k-composition"): (
        "never: keys read embeddings",
        {"color": "#000000", "linestyle": (0, (1, 1))},
    ),
    ("review2026", "no-look-back"): ("never: no look one token back", {"color": "#8C8C8C", "linestyle": (0, (1, 1))}),
}
DEEPER = {
    ("olsson2022", "attn3"): ("free, 3 layers", {"color": "#08306B", "linestyle": "-"}),
    ("olsson2022", "mlp2"): ("free, with MLPs", {"color": "#009E73", "linestyle": "-"}),
}
wanted = [*TREATMENTS, *DEEPER]
known = {key: read.load_arms(results, key) for key in dict.fromkeys(key for key, _ in wanted)}
chosen = {run: known[run[0]].loc[[run[1]]] for run in wanted}
scores = {run: read.load_scores(results, run[0], arm) for run, arm in chosen.items()}
trajectories = {run: read.load_run_table("trajectories", results, run[0], arm) for run, arm in chosen.items()}

# %% [markdown]
# # Cause, or common cause?
#
# Induction heads and the jump in in-context learning come at the same time. That would also be so if something else
# in training caused both. To tell the two apart, only the heads are moved: earlier, in two ways, and never, in two
# ways; everything else stays. If the heads are the cause, the jump moves with them. If not, it stays where it was.

# %%
HTML(read.summarise_arms(pd.concat(chosen.values())).to_html(index=False, border=0))


# %% alt="Best prefix matching and in-context score by training step for free, sped-up and blocked models"
def draw_courses():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharex=True)
    for run, (_, style) in TREATMENTS.items():
        plots.plot_curves(panels[0], read.max_over_heads(scores[run], "prefix_matching"), style)
        plots.plot_curves(panels[1], read.select_metric(scores[run], "icl_score"), style)
    panels[0].set(title="Best head's prefix matching", ylabel="attention share", ylim=(-0.03, 1))
    panels[1].set(title="In-context score (lower: more)", ylabel="nats per token")
    for axes in panels:
        axes.set_xlabel("training step")
    plots.add_legend(figure, {name: style for name, style in TREATMENTS.values()}, columns=2)


draw_courses()

# %% [markdown]
# ## When the heads form, and when the jump comes
#
# Each point is a seed. Across: the step at which the first head passes the threshold of prefix matching. Up: the step
# at which the in-context score has gone half its way. On the grey line both come together. Models whose heads never
# form have no place here.


# %% alt="Step of the in-context jump by step of head formation, a point a seed"
def draw_moments():
    _, axes = plt.subplots(figsize=(5, 4.4))
    top = 0
    for run, (name, style) in (TREATMENTS | DEEPER).items():
        wide = trajectories[run].pivot(index="seed", columns="metric", values="value")
        points = wide[["induction_onset_step", "icl_midpoint"]].dropna()
        if len(points):
            axes.scatter(
                points.induction_onset_step, points.icl_midpoint, s=26, color=style["color"], label=name, alpha=0.8
            )
            top = max(top, points.to_numpy().max())
    axes.plot([0, top], [0, top], color="#AAAAAA", linewidth=1, zorder=0)
    axes.set(xlabel="first induction head (step)", ylabel="half of the in-context score (step)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


draw_moments()
