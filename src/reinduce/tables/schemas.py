"""The tables that stages hand to each other: one declared schema each, with unit and meaning of every column.

A null in `value` means "not scored", in `layer` or `head` "of the whole model" or "of the whole layer".
"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""

    @property
    def field(self) -> pa.Field:
        """The column as Parquet files hold it: unit and meaning are its metadata."""
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "meaning": self.meaning})


def _text(name: str, meaning: str) -> Column:
    return Column(name, pa.string(), meaning)


def _whole(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pa.int32(), meaning, unit)


def _real(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pa.float64(), meaning, unit)


STUDY, ARM = _text("study", "the study, by its folder"), _text("arm", "the arm within its study")
SEED = _whole("seed", "the replicate")
RUN = (STUDY, ARM, SEED)
STEP = _whole("step", "training steps before the checkpoint", "steps")
LAYER = _whole("layer", "the layer, from 0 on; null: of the whole model")
HEAD = _whole("head", "the head within its layer, from 0 on; null: of the whole layer or model")
METRIC = (
    _text("metric", "the metric, by the name that it declares, and a suffix after a colon"),
    _whole("metric_version", "the version of the metric's definition"),
)
VALUE = _real("value", "the metric's value; null: not scored", "the metric's unit")
N_ITEMS = Column("n_items", pa.int64(), "how many items the value is a mean of")
LOSS = _real("loss", "mean cross-entropy", "nats a token")

SCHEMAS: dict[str, tuple[Column, ...]] = {
    "runs": (
        *RUN,
        _text("task", "the task, by its data folder"),
        _text("config_digest", "changes with any setting of the arm"),
        Column("parameters", pa.int64(), "numbers in the model's weights"),
        _whole("steps", "length of the training", "steps"),
        Column("tokens", pa.int64(), "tokens whose losses were trained on", "tokens"),
        _text("device", "cpu or cuda"),
    ),
    "train_log": (
        *RUN,
        STEP,
        Column("tokens", pa.int64(), "tokens whose losses were trained on before the step", "tokens"),
        _real("loss", "mean loss of the step's batch, before the step was taken", "nats a token"),
        _real("learning_rate", "learning rate of the step"),
        _real("gradient_norm", "norm of the gradient before it is clipped"),
    ),
    "index_losses": (
        *RUN,
        STEP,
        _text("eval_set", "the evaluation set"),
        _text("token_class", "all; copyable: completes a bigram of its document; other"),
        _whole("index", "the token index; the start token has 0"),
        LOSS,
        N_ITEMS,
    ),
    "token_losses": (
        *RUN,
        STEP,
        _whole("example", "the held-out document"),
        _whole("index", "its one fixed random token index"),
        LOSS,
    ),
    "scores": (
        *RUN,
        STEP,
        Column("tokens", pa.int64(), "tokens whose losses were trained on before the checkpoint", "tokens"),
        LAYER,
        HEAD,
        *METRIC,
        VALUE,
        N_ITEMS,
    ),
    "trajectories": (*RUN, *METRIC, VALUE, N_ITEMS),
    "loss_components": (
        *RUN,
        STEP,
        _whole("component", "the principal component of all runs' per-token losses, from 1 on"),
        _real("value", "the checkpoint's coordinate along it", "nats"),
    ),
    "ablations": (
        *RUN,
        STEP,
        _text("intervention", "what overwrites the heads' outputs or patterns: zero, mean, resample or another"),
        _text("downstream", "recomputed, or which activations above are frozen at their clean values"),
        _text("selection", "why these heads: single, pair, random, or the name of a selection"),
        _whole("replicate", "which random draw of heads; null: not drawn"),
        _whole("k", "how many heads of a ranking are left; null: not a ranking"),
        _whole("source_head", "the head below that is left beside `head`; null: no such head"),
        _text("heads", "the ablated heads, such as 0.1+1.3"),
        LAYER,
        HEAD,
        *METRIC,
        _real("value", "the metric's value under the intervention; null: not measured", "the metric's unit"),
        _real("baseline", "the metric's value without it", "the metric's unit"),
        N_ITEMS,
    ),
    "attributions": (
        *RUN,
        STEP,
        _text("source", "the head whose effect it is, as layer.head"),
        LAYER,
        HEAD,
        _text("target", "what it has an effect on: a logit, or a head's queries, keys or values"),
        *METRIC,
        VALUE,
        N_ITEMS,
    ),
    "ledger": (
        STUDY,
        _text("claim", "the claim within its study"),
        _text("statement", "the sentence that is tested"),
        _text("verdict", "holds, holds alone, fails, in between, inconclusive or void"),
        _real("estimate", "the statistic over seeds", "the claim's unit"),
        _real("ci_low", "lower end of its 95 % confidence interval", "the claim's unit"),
        _real("ci_high", "upper end of its 95 % confidence interval", "the claim's unit"),
        _whole("n_seeds", "seeds with a value"),
        _text("criterion", "where the statistic must be shown to lie for the claim to hold, and to fail"),
        _text("control_verdict", "the verdict of the same query where the claim must not hold"),
        _text("scale", "the scale at which it was judged"),
        _text("figure", "the figure that shows it"),
        _text("claim_number", "the claim's number in the study's notes"),
        _text("family", "the argument of the paper that it belongs to"),
        _text("registered", "the date since when its sentence, query, criterion and seeds are as they were judged"),
        _text("reason", "why this verdict"),
        _text("source", "where the claim stands"),
        _text("paper_value", "the paper's own number, as context"),
        _text("unit", "unit of the estimate"),
        _real("p_value", "one-sided, against the threshold beyond which the claim holds"),
        _real("p_holm", "the same with Holm's correction over the claims of its family"),
        _text("control", "what is bound in the control, and why it must not hold there"),
        _real("control_estimate", "the control's statistic over seeds", "the claim's unit"),
    ),
}
"""Table → its columns, keys first."""


def schema(table: str) -> pa.Schema:
    """Return the declared schema of a table.

    >>> schema("loss_components").names
    ['study', 'arm', 'seed', 'step', 'component', 'value']
    """
    return pa.schema([column.field for column in SCHEMAS[table]])
