# %%
import pandas as pd
from IPython.display import HTML

from reinduce.report import read

# %% tags=["parameters"]
results = "results"
study = "review2026"
scale = "laptop"

# %% [markdown]
# # What every run did
#
# The review misses magnitudes and error controls. Here is a row for each model: mean over seeds, with the standard
# deviation over seeds behind ±.
#
# - **in-context score**: at the end, nats a token. *over documents*: half width of its 95 % interval over the frozen
#   documents, for one seed.
# - **window**: share of training that holds three quarters of the score's fall.
# - **bump**: how far the loss curve stands above the greatest convex curve below it, in nats. A curve that falls ever
#   more slowly has none.
# - **heads**: how many pass the threshold of prefix matching, and their share of all heads.


# %%
def spread(values):
    values = values.dropna()
    if values.empty:
        return "none"
    return f"{values.mean():.2f} ± {values.std():.2f}" if len(values) > 1 else f"{values.iloc[0]:.2f}"


def row(key, arms, arm):
    one = arms.loc[[arm]]
    scores = read.select_last_checkpoint(read.load_scores(results, key, one))
    of_run = read.load_run_table("trajectories", results, key, one).pivot(
        index="seed", columns="metric", values="value"
    )
    heads = scores[scores.metric == "prefix_matching"]
    threshold = read.load_metric_settings(results, key, arm).induction_threshold
    all_heads = arms.layers[arm] * arms.heads[arm]
    found = (heads.value >= threshold).groupby(heads.seed).sum()
    whole = {metric: read.select_metric(scores, metric) for metric in ("icl_score", "icl_spread")}
    half = 1.96 * whole["icl_spread"].value / whole["icl_spread"].n_items ** 0.5
    return {
        "study": key,
        "arm": arm,
        "model": arms.label[arm],
        "trained on": arms.task[arm],
        "seeds": len(arms.seeds[arm]),
        "in-context score": spread(whole["icl_score"].value),
        "over documents": f"± {half.mean():.2f}",
        "window": spread(of_run.phase_change_fraction),
        "bump (nats)": spread(of_run.loss_bump_size),
        "induction heads": spread(found),
        "of all heads": f"{100 * found.mean() / all_heads:.0f} %" if all_heads else "",
    }


rows = []
for key in ("olsson2022", study):
    arms = read.load_arms(results, key)
    rows += [row(key, arms, arm) for arm in arms.index]
HTML(pd.DataFrame(rows).to_html(index=False, border=0))
