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
arms = arms[~arms.mlp & (arms.layers <= 2)]
styles = plots.choose_line_styles(arms)
scores = read.load_scores(results, study, arms)
trajectories = read.load_run_table("trajectories", results, study, arms)

# %% [markdown]
# # Smeared keys: give one layer what it lacks
#
# An induction head must know, for each earlier token, which token came *before* it. One layer of attention
# cannot hand this over to itself: it takes a first layer that looks one token back, and a second that uses it. Olsson
# and others change the architecture to test this: with **smeared keys** each head may mix a token's key with that of
# the token before it. Now one layer holds all that induction needs.
#
# If induction heads are what makes in-context learning arrive, two things should follow: one layer with
# smeared keys learns in context as well as two layers, and two layers with smeared keys learn it earlier.

# %%
display(
    Markdown(
        "**What differs here.** The paper trained one run of each model on text; with smeared keys its one-layer score "
        "goes from about −0.15 to −0.32, against −0.4 for two layers (read off its figures). Here the models are far "
        f"smaller, with several seeds of each (scale: {scale}), and `repeated_phrases` has much more to copy than text."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))


# %%
def draw_training(chosen):
    """In-context score and best prefix matching over training."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6))
    for arm in chosen.index:
        mine = scores[scores.arm == arm]
        plots.plot_curves(panels[0], read.select_metric(mine, "icl_score"), styles[arm])
        plots.plot_curves(panels[1], read.max_over_heads(mine, "prefix_matching"), styles[arm])
    panels[0].set(title="In-context score (lower: more)", xlabel="training step", ylabel="nats per token")
    panels[1].set(
        title="Best head's prefix matching", xlabel="training step", ylabel="attention share", ylim=(-0.03, 1)
    )
    plots.add_legend(figure, plots.arm_legend(chosen, styles))


def draw_ends(chosen):
    """Final in-context score and middle of its change, a point a seed."""
    final = read.select_last_checkpoint(read.select_metric(scores, "icl_score"))
    middle = read.select_metric(trajectories, "icl_midpoint")
    colours = {chosen.label[arm]: styles[arm]["color"] for arm in chosen.index}
    _, panels = plt.subplots(1, 2, figsize=(10, 0.32 * len(chosen) + 0.9), sharey=True)
    for rows, axes in zip((final, middle), panels, strict=True):
        plots.plot_strip(axes, {chosen.label[arm]: rows.value[rows.arm == arm] for arm in chosen.index}, colours)
        axes.axvline(0, color="#999999", linewidth=0.8)
    panels[0].set(title="In-context score at the end", xlabel="nats per token")
    panels[1].set(title="Middle of the change in the score", xlabel="training step")


# %% [markdown]
# ## Synthetic phrases
#
# Thin lines are seeds, bold ones their mean; dashes stand for smeared keys.

# %% alt="In-context score and best prefix matching by training step, with and without smeared keys, on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw_training(phrases)

# %% [markdown]
# Each point is a seed, each bar their mean. The middle of the change is the step by which half of the gain was made.

# %% alt="Final in-context score and midpoint of its change, a point for each seed, on phrases"
if len(phrases):
    draw_ends(phrases)

# %% [markdown]
# ## Source text

# %% alt="In-context score and best prefix matching by training step, with and without smeared keys, on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw_training(text)

# %% alt="Final in-context score and midpoint of its change, a point for each seed, on source text"
if len(text):
    draw_ends(text)
