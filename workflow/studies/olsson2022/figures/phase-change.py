# %%
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

from reinduce.report import plots, read

# %% tags=["parameters"]
results = "results"
study = "olsson2022"
scale = "laptop"

# %%
plots.set_style()
arms = read.load_arms(results, study, ["repeated_phrases", "source_text"])
styles = plots.choose_line_styles(arms)
scores = read.load_scores(results, study, arms)
trajectories = read.load_run_table("trajectories", results, study, arms)
windows = read.find_windows(trajectories, "window_start", "window_end")

# %% [markdown]
# # The phase change: in-context learning and induction heads arrive together
#
# A language model gets better at predicting a token the more text it has seen before it. How much better
# is its **in-context score**: the loss late in the context minus the loss early in it, so that more
# negative means more learning from context. Olsson and others report that in models of two or more layers
# this ability does not grow slowly: it appears within a short window of training, the *phase change*.
#
# In the same window **induction heads** appear: attention heads that, at a token seen before, look at
# what came after it the last time. **Prefix matching** measures this on repeated random tokens: the share
# of a head's attention that goes where an induction head would look (0 to 1).
#
# What to look for: the loss has a bump, the in-context score drops and prefix matching rises, all at
# the same time. One layer alone should show none of this.

# %%
display(
    Markdown(
        "**What differs here.** The paper's small models are 768 wide, have 12 heads a layer and were trained "
        "once each on ten billion tokens of text. Here several seeds of far smaller models are trained on few "
        f"tokens (scale: {scale}). `repeated_phrases` are synthetic documents that repeat private phrases; "
        "`source_text` is Python source code."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))


# %%
def draw_together(chosen):
    """Loss, in-context score and best prefix matching of all arms of one task."""
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.6))
    for arm in chosen.index:
        mine = scores[scores.arm == arm]
        plots.plot_curves(panels[0], read.select_metric(mine, "loss"), styles[arm])
        plots.plot_curves(panels[1], read.select_metric(mine, "icl_score"), styles[arm])
        plots.plot_curves(panels[2], read.max_over_heads(mine, "prefix_matching"), styles[arm])
    panels[0].set(title="Held-out loss", ylabel="nats per token")
    panels[1].set(title="In-context score (lower: more)", ylabel="nats per token")
    panels[2].set(title="Best head's prefix matching", ylabel="attention share", ylim=(-0.03, 1))
    for axes in panels:
        axes.set_xlabel("training step")
    plots.add_legend(figure, plots.arm_legend(chosen, styles), columns=3)


def draw_apart(chosen):
    """The same, a row for each arm with every head, phase-change windows shaded."""
    figure, rows = plt.subplots(
        len(chosen), 3, figsize=(10, 1.65 * len(chosen) + 0.8), sharex="row", sharey="col", squeeze=False
    )
    for arm, panels in zip(chosen.index, rows, strict=True):
        mine = scores[scores.arm == arm]
        plots.plot_curves(panels[0], read.select_metric(mine, "loss"), styles[arm])
        plots.plot_curves(panels[1], read.select_metric(mine, "icl_score"), styles[arm])
        plots.plot_head_curves(panels[2], read.select_metric(mine, "prefix_matching"))
        for axes in panels:
            plots.shade_windows(axes, windows[windows.arm == arm])
        panels[0].set_title(f"{chosen.label[arm]} ({arm})", fontweight="bold")
        panels[0].set_ylabel("loss (nats)")
        panels[1].set_ylabel("in-context score (nats)")
        panels[2].set(ylabel="prefix matching", ylim=(-0.03, 1))
    for axes in rows[-1]:
        axes.set_xlabel("training step")
    window = {"phase-change window, one a seed": {"color": plots.WINDOW, "linewidth": 7}}
    plots.add_legend(figure, plots.layer_legend(chosen.layers.max()) | window)


# %% [markdown]
# ## Synthetic phrases
#
# Thin lines are seeds, bold ones their mean. Colour and line style stand for the model.

# %% alt="Loss, in-context score and best prefix matching by training step, all models trained on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw_together(phrases)

# %% [markdown]
# Model by model. On the right, every head of every seed is a line; its colour says which layer it is in.
# Shaded: each seed's window, the narrowest stretch of training that holds three quarters of the fall of its
# in-context score. It is found in the score alone, never in the heads. A model without a phase change has a window
# too, but a wide one, of a small fall.

# %% alt="Loss, in-context score and every head's prefix matching by training step, a row a model, on phrases"
if len(phrases):
    draw_apart(phrases)

# %% [markdown]
# ## Source text
#
# Real text has many other regularities to learn and repeats itself less, so every effect is smaller.

# %% alt="Loss, in-context score and best prefix matching by training step, all models trained on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw_together(text)

# %% alt="Loss, in-context score and every head's prefix matching by training step, a row a model, on source text"
if len(text):
    draw_apart(text)
