"""What a job needs to know, in plain dataclasses.

Everything here uses the standard library alone, so that a machine with nothing but torch
and pyarrow can read a resolved specification and run a stage. The YAML files that people
write are checked elsewhere (`config.user_config`), against these very classes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

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


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A decoder-only transformer, or the same with a recurrence in place of attention."""

    __pydantic_config__ = STRICT

    n_layers: int
    """Number of blocks."""
    d_model: int
    """Width of the residual stream."""
    n_heads: int
    """Attention heads per layer; must divide d_model. Recurrences have none, whatever this says."""
    vocab_size: int
    """Number of token ids, the start token (id 0) included."""
    n_ctx: int
    """Tokens in a sequence, the start token included."""
    d_features: int = 0
    """Width of the frozen vectors that token ids from `vocab_size` on stand for; 0: there are none."""
    vectors_per_class: int = 1
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
    clamps: list[dict[str, Any]] = field(default_factory=list)
    """Interventions that hold in training and in every measurement: `type`, `layer`, and what the type declares."""

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "vocab_size", "n_ctx"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        require(
            self.d_model % self.n_heads == 0,
            f"n_heads must divide d_model: {self.n_heads} heads do not divide a width of {self.d_model}",
        )
        require(self.mlp_ratio >= 0, f"mlp_ratio must be 0 or more, not {self.mlp_ratio}")
        require(self.d_features >= 0, f"d_features must be 0 or more, not {self.d_features}")
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

    @property
    def has_heads(self) -> bool:
        """Whether there are attention heads to measure and to edit."""
        return self.mixer == "attention"

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


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
    batch_size: int
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
    loss_mask: str = "none"
    """Tokens masked in the loss: none, or copyable (those that complete a bigram seen earlier in the sequence)."""
    grad_clip_norm: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    save_every: int = 500
    """Steps between saves of the state from which an interrupted run resumes."""
    grad_accum_steps: int = 1
    """Equal parts of a batch, each with a pass of its own; as many devices can share a step."""
    precision: str = "float32"
    """float32, or bf16: matrix products in bfloat16, weights and sums in float32."""
    compile: bool | None = None
    """Whether losses are compiled; null: where sequences are of a few tokens and the training is long."""
    fused: bool = True
    """Whether the optimizer is one operation a step."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "save_every", "grad_accum_steps"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        # Pairs of pairs are added: the sum is then the same however many devices share the parts.
        require(
            self.grad_accum_steps & (self.grad_accum_steps - 1) == 0,
            f"grad_accum_steps must be 1, 2, 4, 8, …, not {self.grad_accum_steps}",
        )
        require(
            self.batch_size % self.grad_accum_steps == 0,
            f"grad_accum_steps must divide batch_size: {self.grad_accum_steps} do not divide {self.batch_size}",
        )
        require(
            self.precision in PRECISIONS, f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
        )
        require(self.loss_mask in ("none", "copyable"), f"loss_mask must be none or copyable, not {self.loss_mask!r}")
        for name in ("warmup", "weight_decay", "grad_clip_norm"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class GraftSpec:
    """Weights taken over from the end of another arm's run, and not trained."""

    __pydantic_config__ = STRICT

    arm: str
    """The arm that gives, of the same study."""
    layer: int
    """The last layer taken over; all below it and the embeddings come with it."""
    seed_offset: int = 0
    """Seed k takes from seed k + seed_offset of the arm that gives, counted round."""

    def __post_init__(self) -> None:
        for name in ("layer", "seed_offset"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """One model variant trained on one task under one treatment."""

    __pydantic_config__ = STRICT

    study: str
    """The study, by its folder."""
    arm: str
    """The arm within its study."""
    task: str
    """The task's name; that of its data folder."""
    model: ModelSpec
    """The model."""
    train: TrainSpec
    """How each seed is trained."""
    init_from_arm: str | None = None
    """The arm whose initial weights it has, seed by seed; null: its own."""
    graft: GraftSpec | None = None
    """What it takes over of another arm; null: nothing."""

    @property
    def task_name(self) -> str:
        """The task's name within its study."""
        return self.task.removeprefix(f"{self.study}.")

    def __post_init__(self) -> None:
        require(
            self.graft is None or self.graft.layer < self.model.n_layers,
            f"graft: no layer {self.graft and self.graft.layer}; layers are 0 to {self.model.n_layers - 1}",
        )


def checkpoint_name(step: int) -> str:
    """E.g. 'step00001400': names sort by step."""
    return f"step{step:08d}"


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a dataclass from plain JSON values: lists become tuples and keys numbers where the types say so.

    Raises:
        ValueError: naming the class and the key, if a key is missing or unknown.
    """
    kind: Any = cls
    hints = type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(values) - set(known))
    require(not unknown, f"{cls.__name__}: unknown {', '.join(unknown)}; expected {', '.join(known)}")
    try:
        return cls(**{key: _converted(hints[key], value) for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None


@cache
def type_hints(cls) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    return get_type_hints(cls)


def _converted(kind, value):
    options = [option for option in get_args(kind) if _is_dataclass(option)]
    if _is_dataclass(kind):
        return from_dict(kind, value)
    if get_origin(kind) is dict:
        return {int(k): v for k, v in value.items()} if get_args(kind)[0] is int else dict(value)
    if get_origin(kind) is list:
        return [_converted(get_args(kind)[0], entry) for entry in value]
    if options and value is not None:
        return from_dict(options[0], value)
    return tuple(value) if isinstance(value, list) else value


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def to_json(spec) -> str:
    """A dataclass as JSON text: sorted keys, so that equal specifications are equal files."""
    values = dataclasses.asdict(spec) if dataclasses.is_dataclass(spec) and not isinstance(spec, type) else spec
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def read_spec(cls: type[T], path: str | Path) -> T:
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
