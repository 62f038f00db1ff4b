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
heads = read.pivot_by_head(
    read.load_scores(results, study, arms),
    read.load_run_table("attributions", results, study, arms, metric="direct_logit"),
)

# %% [markdown]
# # Anatomy of heads: do those that look also copy?
#
# Each point is one attention head at the end of training; every head of every seed is drawn. An induction head does
# two things, and each is measured twice: from its behaviour, and from its weights alone.
#
# 1. It looks at what came after the same token before. Behaviour: **prefix matching**, the share of attention there
#    on repeated random tokens. Weights: the **QK trace**, how well its queries match the keys that earlier
#    previous-token heads made.
# 2. It raises the logit of what it looks at. Behaviour: **copying**, the attended token's share of the logits that
#    the head raises, from −1 to 1; an unrelated output scores about −0.9. Weights: **OV eigenvalues**, their sum over
#    the sum of their sizes; 1 for a head that copies whatever it sees, about 0 by chance.
#
# **Previous-token** heads spend their attention one token back; induction heads of later layers need them.
# The **direct logit** effect says what a head adds to the right token's logit on the repeated tokens.

# %%
display(
    Markdown(
        "**What differs here.** In the paper, attention-only models of two or more layers have three or four heads "
        "with prefix matching between about 0.45 and 0.8 (read off its figures), nothing else above 0.2, and those "
        f"that match also copy. Here models are far smaller (scale: {scale}). The QK trace goes by way of an earlier "
        "layer, so there is none for layer 1, and with so few heads it rests on very few previous-token heads."
    )
)
HTML(read.summarise_arms(arms).to_html(index=False, border=0))

# %%
NAMES = {
    "prefix_matching": "prefix matching (attention share)",
    "copying": "copying (−1 to 1)",
    "ov_eigenvalues": "OV eigenvalues (−1 to 1)",
    "qk_trace": "QK trace",
    "previous_token": "previous token (attention share)",
    "direct_logit": "direct logit effect (logits)",
}
PANELS = (
    ("copying", "prefix_matching", "Looking and copying"),
    ("copying", "ov_eigenvalues", "Copying: behaviour and weights"),
    ("qk_trace", "prefix_matching", "Looking: weights and behaviour"),
    ("previous_token", "prefix_matching", "Two kinds of heads"),
    ("direct_logit", "prefix_matching", "Looking and its effect"),
)


def draw(chosen):
    """Five scatter plots of the heads of one task."""
    mine = heads[heads.index.get_level_values("arm").isin(chosen.index)]
    _, grid = plt.subplots(2, 3, figsize=(10, 6.6))
    for (x, y, title), axes in zip(PANELS, grid.flat, strict=False):
        plots.plot_head_points(axes, mine, x, y, styles)
        axes.set(title=title, xlabel=NAMES[x], ylabel=NAMES[y])
    points = {name: style | {"marker": "s", "linewidth": 0} for name, style in plots.arm_legend(chosen, styles).items()}
    plots.add_legend(grid.flat[-1], points | plots.marker_legend(chosen.layers.max()))


# %% [markdown]
# ## Synthetic phrases

# %% alt="Scatter plots of prefix matching, copying and their counterparts, a point a head, on phrases"
phrases = arms[arms.task == "repeated_phrases"]
if len(phrases):
    draw(phrases)

# %% [markdown]
# ## Source text

# %% alt="Scatter plots of prefix matching, copying and their counterparts, a point a head, on source text"
text = arms[arms.task == "source_text"]
if len(text):
    draw(text)
