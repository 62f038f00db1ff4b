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
ALONE = ["one-head", *(f"head-{head}" for head in range(1, 8))]
arms = read.load_arms(results, study).loc[["whole", *ALONE]]
scores = read.load_scores(results, study, arms)
trajectories = read.load_run_table("trajectories", results, study, arms)

# %% [markdown]
# # Heads alone and together
#
# From the same initial weights, each of the eight heads of the second layer learns the task alone, all others silent.
# Left: which can, and how much later than all together (the red bar of each seed)? Heads that never get there are not
# shown. Right: do those that are fast alone become the strong ones when all learn together?

# %%
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
SEEDS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C8C8C", "#C04A00", "#6A3D9A", "#7F2704")
steps = read.select_metric(trajectories, "learned_step")
together = steps[steps.arm == "whole"].set_index("seed").value
alone = steps[steps.arm.isin(ALONE)].assign(head=lambda rows: rows.arm.map({arm: i for i, arm in enumerate(ALONE)}))
strength = read.select_last_checkpoint(
    read.select_metric(scores[(scores.arm == "whole") & (scores.layer == 1)], "induction_strength")
)
alone = alone.merge(
    strength.assign(strength=strength.value, head=strength["head"].astype(int))[["seed", "head", "strength"]]
)


# %% alt="Steps that heads take alone and together by seed, and strength together against steps alone"
def draw():
    _, panels = plt.subplots(1, 2, figsize=(10, 3.4))
    for seed, value in together.items():
        panels[0].plot([seed - 0.35, seed + 0.35], [value, value], color="#CC3311", linewidth=2)
    for seed, heads in alone.groupby("seed"):
        style = {"s": 18, "color": SEEDS[seed % len(SEEDS)], "alpha": 0.8, "linewidth": 0}
        panels[0].scatter(heads.seed, heads.value, **style)
        panels[1].scatter(heads.value, heads.strength, **style)
    panels[0].set(title="Learned: each head alone, and all together (red)", xlabel="seed", ylabel="training step")
    panels[0].set_xticks(sorted(together.index))
    panels[1].set(title="A colour is a seed", xlabel="learned alone at step", ylabel="strength together")


draw()
