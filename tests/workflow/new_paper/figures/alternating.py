# %% tags=["parameters"]
results = "results"
study = "mine2027"
scale = "smoke"
# %%
from reinduce.report import plots, read

plots.set_style()
arms = read.load_arms(results, study)
scores = read.select_metric(read.load_scores(results, study, arms), "attention_two_back")
# %% [markdown]
# # Attention to the token two back
# %% alt="Best head of each arm"
scores.groupby(["arm", "step"]).value.max().unstack("arm").plot()
