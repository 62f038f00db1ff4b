"""What a job needs to know, in plain dataclasses.

Everything here uses the standard library alone, so that a machine with nothing but torch
and pyarrow can read a resolved specification and run a stage. The YAML files that people
write are checked elsewhere (`config.tree`), against these very classes.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

# Read by pydantic where it is installed; ignored where it is not.
STRICT = {"extra": "forbid", "use_attribute_docstrings": True}

POSITIONS = ("shortformer", "rotary", "learned", "none")
MIXERS = ("attention", "gru", "gated_linear")
INITIAL = ("depth_scaled", "plain")
PRECISIONS = ("float32", "bf16")


def require(ok: bool, message: str) -> None:
    """Raise ValueError(message) unless ok."""
    if not ok:
        raise ValueError(message)


CLAMPS = {
    "keys_read_embedding": "keys of the layer are made of the token embedding, not of what earlier layers wrote",
    "attend_previous": "the layer's heads attend to the previous token, whatever their queries and keys",
    "never_attend_previous": "the layer's heads may attend to any token but the previous one",
    "silence": "the layer's heads say nothing",
    "layer_one": "the layer matches what a perfect previous-token layer would give it, and reads the embedding",
    "match": "the query attends to the label of its own class (exemplars), by `strength`, and else to the other one",
    "copy": "the logits of the two labels are the head's scores for them (exemplars)",
    "preserve": "the layer's queries, keys, values or patterns (`site`) are those of a pass without any clamp",
}
PRESERVED = ("q", "k", "v", "pattern")
"""Sites that a clamp can preserve."""
OF_EXEMPLARS = ("layer_one", "match", "copy")
"""Clamps that know where exemplars and labels stand."""
"""Edits that hold through training and ever after: name → what it does. Made in `model.clamps`."""


@dataclass(frozen=True, kw_only=True)
class ClampSpec:
    """An edit that is part of a model, in training and in every measurement."""

    __pydantic_config__ = STRICT

    what: str
    """keys_read_embedding, attend_previous, never_attend_previous, silence, layer_one, match, copy, preserve."""
    layer: int
    """The layer, from 0 on."""
    head: int | None = None
    """One head; null: all of the layer."""
    but: int | None = None
    """silence: all heads of the layer but this one."""
    strength: float = 1.0
    """match: weight of the right label; the wrong one gets the rest."""
    site: str | None = None
    """preserve: q, k, v or pattern."""

    def __post_init__(self) -> None:
        require(self.what in CLAMPS, f"what must be one of {', '.join(CLAMPS)}, not {self.what!r}")
        require(
            (self.site in PRESERVED) if self.what == "preserve" else self.site is None,
            f"site must be one of {', '.join(PRESERVED)} for preserve, and belongs to no other clamp; "
            f"not {self.site!r} for {self.what}",
        )
        require(self.but is None or self.what == "silence", f"but belongs to silence, not to {self.what}")
        require(self.but is None or self.head is None, "silence takes head or but, not both")
        require(0 <= self.strength <= 1, f"strength must lie between 0 and 1, not {self.strength}")
        require(self.strength == 1 or self.what == "match", f"strength belongs to match, not to {self.what}")
        require(self.what != "copy" or self.head is not None, "copy needs a head: one head's scores become the logits")
        require(self.what != "layer_one" or self.head is None, "layer_one is of all heads of the layer; leave out head")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A decoder-only transformer, or the same with a recurrence in place of attention."""

    __pydantic_config__ = STRICT

    layers: int
    """Number of blocks."""
    d_model: int
    """Width of the residual stream."""
    heads: int
    """Attention heads per layer; must divide d_model. Recurrences have none, whatever this says."""
    vocabulary: int
    """Number of token ids, the start token (id 0) included."""
    context: int
    """Tokens in a sequence, the start token included."""
    features: int = 0
    """Width of the frozen vectors that token ids from `vocabulary` on stand for; 0: there are none."""
    exemplars: int = 1
    """How many of these token ids in a row are of one class."""
    unembedding_bias: bool = False
    """Whether logits have a bias."""
    initial: str = "depth_scaled"
    """depth_scaled (matrices that write to the stream start smaller the deeper the model), plain (all alike)."""
    mlp_ratio: float = 0.0
    """Width of the MLP's hidden layer over d_model; 0 leaves the MLP out."""
    mixer: str = "attention"
    """What moves information between tokens: attention, or with as many parameters gru or gated_linear."""
    positions: str = "shortformer"
    """shortformer (sinusoids added to the inputs of queries and keys only), rotary, learned, none."""
    smeared_keys: bool = False
    """Whether each head may mix a key with its predecessor (one trained number a head)."""
    layer_norm: bool = True
    """Whether blocks and the unembedding read a layer-normalised residual stream."""
    clamps: list[ClampSpec] = field(default_factory=list)
    """Edits that hold through training and ever after."""

    def __post_init__(self) -> None:
        for name in ("layers", "d_model", "heads", "vocabulary", "context"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(
            self.d_model % self.heads == 0,
            f"heads must divide d_model: {self.heads} heads do not divide a width of {self.d_model}",
        )
        require(self.mlp_ratio >= 0, f"mlp_ratio must be 0 or more, not {self.mlp_ratio}")
        require(self.features >= 0, f"features must be 0 or more, not {self.features}")
        require(self.initial in INITIAL, f"initial must be one of {', '.join(INITIAL)}, not {self.initial!r}")
        require(self.mixer in MIXERS, f"mixer must be one of {', '.join(MIXERS)}, not {self.mixer!r}")
        require(
            self.has_heads or not (self.clamps or self.smeared_keys),
            f"clamps and smeared_keys need attention, not a {self.mixer}",
        )
        require(self.positions in POSITIONS, f"positions must be one of {', '.join(POSITIONS)}, not {self.positions!r}")
        require(
            self.positions != "rotary" or self.d_head % 2 == 0,
            f"rotary positions need an even head width, not {self.d_head}",
        )
        for clamp in self.clamps:
            require(
                clamp.what not in OF_EXEMPLARS or (self.features > 0 and self.context == 5),
                f"clamps: {clamp.what} is for models that read five tokens, exemplars and labels in turn",
            )
            require(
                0 <= clamp.layer < self.layers, f"clamps: no layer {clamp.layer}; layers are 0 to {self.layers - 1}"
            )
            for head in (clamp.head, clamp.but):
                require(
                    head is None or 0 <= head < self.heads, f"clamps: no head {head}; heads are 0 to {self.heads - 1}"
                )

    @property
    def has_heads(self) -> bool:
        """Whether there are attention heads to measure and to edit."""
        return self.mixer == "attention"

    @property
    def d_head(self) -> int:
        return self.d_model // self.heads


@dataclass(frozen=True, kw_only=True)
class CheckpointSpec:
    """A piecewise schedule: from each start on, a checkpoint every so many steps."""

    __pydantic_config__ = STRICT

    every: dict[int, int]
    """start step → interval in steps, e.g. {0: 250, 800: 50, 1300: 100}; step 0 and the last are always kept."""

    def __post_init__(self) -> None:
        require(bool(self.every), "every needs at least one piece, such as {0: 100}")
        for start, interval in self.every.items():
            require(
                start >= 0 and interval > 0,
                f"every: starts are 0 or more and intervals positive, not {start}: {interval}",
            )

    def steps(self, last: int) -> list[int]:
        """All checkpoint steps from 0 to `last`, ascending."""
        starts = sorted(self.every)
        kept = {0, last}
        for start, end in zip(starts, starts[1:] + [last], strict=True):
            kept.update(range(start, min(end, last) + 1, self.every[start]))
        return sorted(kept)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How one seed is trained."""

    __pydantic_config__ = STRICT

    steps: int
    """Optimizer steps."""
    batch: int
    """Sequences a step."""
    learning_rate: float
    """Peak learning rate of AdamW."""
    checkpoints: CheckpointSpec
    """Which steps' weights are kept."""
    warmup: int = 0
    """Steps of linear warm-up."""
    weight_decay: float = 0.0
    """Decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    omit: str = "none"
    """Tokens left out of the loss: none, or copyable (those that complete a bigram seen earlier in the sequence)."""
    clip: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    save_every: int = 500
    """Steps between saves of the state from which an interrupted run resumes."""
    parts: int = 1
    """Equal parts of a batch, each with a pass of its own; as many devices can share a step."""
    precision: str = "float32"
    """float32, or bf16: matrix products in bfloat16, weights and sums in float32."""
    compile: bool | None = None
    """Whether losses are compiled; null: where sequences are of a few tokens and the training is long."""
    fused: bool = True
    """Whether the optimizer is one operation a step."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "save_every", "parts"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        # Pairs of pairs are added: the sum is then the same however many devices share the parts.
        require(self.parts & (self.parts - 1) == 0, f"parts must be 1, 2, 4, 8, …, not {self.parts}")
        require(self.batch % self.parts == 0, f"parts must divide batch: {self.parts} do not divide {self.batch}")
        require(
            self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
        )
        require(self.omit in ("none", "copyable"), f"omit must be none or copyable, not {self.omit!r}")
        for name in ("warmup", "weight_decay", "clip"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class GraftSpec:
    """Weights taken over from the end of another arm's run, and not trained."""

    __pydantic_config__ = STRICT

    arm: str
    """The arm that gives, of the same study."""
    layer: int
    """The last layer taken over; all below it and the embeddings come with it."""
    shift: int = 0
    """Seed k takes from seed k + shift of the arm that gives, counted round."""

    def __post_init__(self) -> None:
        for name in ("layer", "shift"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """One model variant trained on one task under one treatment."""

    __pydantic_config__ = STRICT

    study: str
    arm: str
    task: str
    """The task's name; that of its data folder."""
    model: ModelSpec
    train: TrainSpec
    starts_as: str | None = None
    """The arm whose initial weights it has, seed by seed; null: its own."""
    graft: GraftSpec | None = None
    """What it takes over of another arm; null: nothing."""

    def __post_init__(self) -> None:
        require(
            self.graft is None or self.graft.layer < self.model.layers,
            f"graft: no layer {self.graft and self.graft.layer}; layers are 0 to {self.model.layers - 1}",
        )


@dataclass(frozen=True, kw_only=True)
class IndexPair:
    """Two ranges of token indices whose losses are compared; both ends belong to a range."""

    __pydantic_config__ = STRICT

    early: tuple[int, int]
    late: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("early", "late"):
            low, high = getattr(self, name)
            require(1 <= low <= high, f"{name} must be a range of indices from 1 on, not {low} to {high}")

    @property
    def name(self) -> str:
        """E.g. '112-127/8-13', or '126/12' for single indices."""
        return "/".join("-".join(str(i) for i in sorted(set(r))) for r in (self.late, self.early))


@dataclass(frozen=True, kw_only=True)
class MeasureSpec:
    """How checkpoints are measured: the settings stored with every score."""

    __pydantic_config__ = STRICT

    pairs: list[IndexPair]
    """Index pairs of the in-context-learning score; the first is the one claims use."""
    derivative: tuple[int, int]
    """Token indices over which the derivative of loss by log index is averaged."""
    induction_threshold: float = 0.3
    """Prefix matching from which a head counts as an induction head."""
    previous_token_threshold: float = 0.3
    """Previous-token score from which a head counts as a previous-token head."""

    def __post_init__(self) -> None:
        require(bool(self.pairs), "pairs needs at least one index pair")


@dataclass(frozen=True, kw_only=True)
class AblateSpec:
    """How heads are ablated."""

    __pydantic_config__ = STRICT

    examples: int
    """Held-out sequences on which a joint ablation's effect is measured."""
    sweep_examples: int | None = None
    """The same for the sweeps over every head and every pair, the first of them; null: as many."""
    sweep_methods: tuple[str, ...] = ("zero", "mean", "resample")
    """What the sweeps put in place of a head's output; joint ablations always put all three."""
    draws: int = 8
    """Random sets of heads, matched by layer, beside each joint ablation."""

    def __post_init__(self) -> None:
        require(self.examples > 0, f"examples must be positive, not {self.examples}")
        require(self.draws >= 0, f"draws must be 0 or more, not {self.draws}")
        methods = ("zero", "mean", "resample")
        unknown = [method for method in self.sweep_methods if method not in methods]
        require(not unknown, f"sweep_methods: no {', '.join(unknown)}; there are: {', '.join(methods)}")
        swept = self.sweep_examples
        require(
            swept is None or 1 < swept <= self.examples,
            f"sweep_examples must lie between 2 and examples ({self.examples}), not {swept}",
        )


def checkpoint_name(step: int) -> str:
    """E.g. 'step00001400': names sort by step."""
    return f"step{step:08d}"


def from_dict(cls, values):
    """Build a dataclass of this module from plain JSON values.

    Raises ValueError naming the class and the key if a key is missing or unknown.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    require(not unknown, f"{cls.__name__}: unknown {', '.join(unknown)}; expected {', '.join(fields)}")
    try:
        return cls(**{key: _plain(fields[key].type, value) for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


def _plain(kind, value):
    if kind == GraftSpec | None:
        return None if value is None else from_dict(GraftSpec, value)
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value)
    if kind == dict[int, int]:
        return {int(k): v for k, v in value.items()}
    if kind == list[IndexPair]:
        return [from_dict(IndexPair, {k: tuple(v) for k, v in pair.items()}) for pair in value]
    if kind == list[ClampSpec]:
        return [from_dict(ClampSpec, clamp) for clamp in value]
    return tuple(value) if isinstance(value, list) else value


def to_json(spec) -> str:
    """A dataclass as JSON text: sorted keys, so that equal specifications are equal files."""
    values = dataclasses.asdict(spec) if dataclasses.is_dataclass(spec) else spec
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def read_spec(cls, path: str | Path):
    """Read a resolved specification.

    Raises FileNotFoundError or ValueError naming the file.
    """
    try:
        return from_dict(cls, json.loads(Path(path).read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def digest(spec) -> str:
    """Sixteen hexadecimal digits that change when the specification does."""
    return hashlib.sha256(to_json(spec).encode()).hexdigest()[:16]


def stream_seed(*names: str | int) -> int:
    """A 63-bit seed for the named stream, e.g. stream_seed('data', 'phrases', 3, 17).

    Streams with different names are independent; the same name gives the same numbers on
    every machine and whatever was drawn before.
    """
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
