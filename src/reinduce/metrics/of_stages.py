"""Metrics that the ablation, attribution and series stages compute, declared for their tables and documents."""

from reinduce.config.declare import Metric, declare_metric
from reinduce.metrics.tolerances import DEGREES, NATS, STEPS

BEFORE_AFTER = declare_metric(
    Metric(
        name="before_after",
        level="effect",
        compute=None,
        description="Change of per-token losses along the vector by which the phase-change window changed them; "
        "negative if the ablation undoes the change.\n\nThe vector is the per-token losses after the window minus "
        "those before it, scaled to norm one; each held-out example counts at one fixed random index.",
        unit="nats",
        source="Olsson et al. 2022, argument 3",
        null="0 for an ablation without effect; null without a window",
        tolerance=NATS,
        module=__name__,
    )
)
DIRECT_LOGIT = declare_metric(
    Metric(
        name="direct_logit",
        level="effect",
        compute=None,
        description="A head's direct effect on the logit of the next token of a repeat.\n\nConventions shift such "
        "values by a few per cent: here logits are centred over the vocabulary, and the final layer norm keeps its "
        "scale of the clean pass.",
        unit="logit",
        null="0 for a head that does not write toward the token",
        tolerance=NATS,
        module=__name__,
    )
)
DIRECT_LOGIT_POSITIVE = declare_metric(
    Metric(
        name="direct_logit_positive",
        level="effect",
        compute=None,
        description="Share of places in which the direct effect on the next token's logit is positive.",
        unit="share of places",
        value_range=(0, 1),
        null="0.5 for a head whose output is unrelated",
        tolerance=NATS,
        module=__name__,
    )
)
PATH_LOSS = declare_metric(
    Metric(
        name="path_loss",
        level="effect",
        compute=None,
        description="What cutting one path between two heads costs on the second and later repeats.\n\nThe path runs "
        "through the residual stream: the receiver gets the source's mean output, every attention output and MLP in "
        "between keeps its clean value, and everything after the receiver is recomputed.",
        unit="nats a token",
        null="0 for a path that carries nothing",
        tolerance=NATS,
        module=__name__,
    )
)
PCA_TURN_ANGLE = declare_metric(
    Metric(
        name="pca_turn_angle",
        level="effect",
        compute=None,
        description="Angle between a run's course through the principal components of all runs' losses up to the "
        "phase-change window and within it.",
        unit="degrees",
        value_range=(0, 180),
        source="Olsson et al. 2022, argument 1",
        null="about 0 for a straight path; null without a window",
        tolerance=DEGREES,
        module=__name__,
    )
)
PCA_TURN_STEP = declare_metric(
    Metric(
        name="pca_turn_step",
        level="effect",
        compute=None,
        description="Step at which a run's path is farthest from the straight line between its ends.",
        unit="step",
        source="Olsson et al. 2022, argument 1",
        null="any step for a straight path",
        tolerance=STEPS,
        module=__name__,
    )
)
