"""Declarations: tasks, metrics, interventions and ablations, each declared once and found by its name.

A library module or a study's module declares with the decorators `task`, `metric`, `intervention` and
`ablation`. Stages, rules and configuration know no declaration by name: they ask `config.find`, which
imports the modules that may declare one. Library names are plain; outside of its own study, a name
that a study declares carries the study (`mine2027.tones`).

| declared | library modules | modules of a study |
|---|---|---|
| task | `reinduce.tasks.*` | `tasks`, `tasks.*` |
| metric | `reinduce.metrics.*` | `metrics`, `metrics.*` |
| intervention | `reinduce.model.clamps` | `interventions`, `interventions.*` |
| ablation | – | `interventions`, `interventions.*` |
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

STUDIES = "reinduce.studies"
HALVES = ("first_half", "second_half")
"""Heads are chosen on the first half of an evaluation set and judged on the second."""
Level = Literal["head", "layer", "model", "run", "effect"]
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


class DeclarationError(ValueError):
    """Code that declares cannot be used: it cannot be imported, or a name is declared twice."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far the mean of a metric may differ between two runs of the same seeds on different machines."""

    absolute: float = 0.0
    """In the metric's unit."""
    relative: float = 0.0
    """As a share of the reference's mean; added to `absolute`."""
    reason: str
    """Why this much, and where the number comes from."""

    def limit(self, mean: float) -> float:
        """Return the largest difference from `mean` that is allowed."""
        return self.absolute + self.relative * abs(mean)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A quantity measured at checkpoints, or of a whole run, and all that is known about it."""

    name: str
    """Its name in the tables. A function that returns a mapping adds `:suffix` for each key."""
    level: Level
    """head, layer or model: a value for each, at every checkpoint; run: one value of a whole run, made from the
    curves of other metrics; effect: measured by the ablation or attribution stage."""
    compute: Callable[..., Any] | None
    """head, layer: function of `MetricInputs` and a layer; model: of `MetricInputs`; run: of curves and settings."""
    description: str
    """What the value is, in one or more sentences."""
    version: int = 1
    """Raised when the definition changes, so that old and new values never mix."""
    unit: str = ""
    value_range: tuple[float | None, float | None] = (None, None)
    """Smallest and largest possible value; None: unbounded."""
    source: str = ""
    """The paper that defines it."""
    null: str = ""
    """The value for a head or a run without the property."""
    tolerance: Tolerance
    evaluation_set: str | None = None
    """The evaluation set whose forward pass it reads; None: weights alone, or curves."""
    evaluation_sets: tuple[str, ...] = ()
    """Instead of one set: the metric is computed on each, and its rows are named `name:set`."""
    also: tuple[str, ...] = ()
    """Further evaluation sets that it reads beside the pass."""
    sites: tuple[str, ...] = ()
    """What it reads of the pass: `losses`, `logits`, `attention`, or a kind of activation site, such as `v`."""
    examples: int | None = None
    """How many examples of the set it uses; None: all."""
    halves: bool = False
    """Whether the first and last checkpoint also have rows of each half of its examples alone (`name:first_half`), so
    that heads can be chosen on the first half and judged on the second."""
    after: tuple[str, ...] = ()
    """Metrics of the same checkpoint whose values it needs; of a run's metric, those whose curves it needs."""
    min_layers: int = 1
    """Fewest layers that a model needs to have it."""
    only_ends: bool = False
    """Whether it is measured at the first and last checkpoint alone."""
    token_weights: Callable[..., Any] | None = None
    """For means of losses: a function of the evaluation set and the settings that returns the weight of every
    predicted token [B T-1] (or None where no token counts). Ablations measure such metrics too."""
    summand: Callable[..., Any] | None = None
    """For other metrics that ablations measure: a function of losses [C b T-1] of copies of the model on some of the
    documents that count, the evaluation sets, which documents count, and which of these the losses are of (both as
    slices); it returns {suffix: [C]}, what the latter contribute to the metric."""
    owner: str = ""
    """The study that declares it; empty: the library."""
    module: str = ""

    @property
    def sets(self) -> tuple[str, ...]:
        """Every evaluation set that it needs."""
        own = (self.evaluation_set,) if self.evaluation_set else ()
        return (*own, *self.evaluation_sets, *self.also)

    @property
    def needs_heads(self) -> bool:
        """Whether only models with attention heads have it."""
        return self.level == "head" or bool(set(self.sites) - {"losses", "logits"})


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A study's own ablations: a function that gives rows of table `ablations` for a checkpoint."""

    name: str
    compute: Callable[..., Any]
    """Function of `AblationInputs`; returns an iterator of rows without the run's keys."""
    evaluation_set: str
    description: str
    version: int = 1
    owner: str = ""
    module: str = ""


_DECLARED: dict[tuple[str, str], dict[str, Any]] = {}
"""(kind, study or '') → name → what was declared."""


def owner_of(module: str) -> str:
    """Return the study that a module belongs to, or '' for the library.

    >>> owner_of("reinduce.studies.mine2027.metrics"), owner_of("reinduce.metrics.heads")
    ('mine2027', '')
    """
    return module.removeprefix(f"{STUDIES}.").split(".")[0] if module.startswith(f"{STUDIES}.") else ""


def _record(kind: str, name: str, declared: Any, module: str) -> None:
    known = _DECLARED.setdefault((kind, owner_of(module)), {})
    if name in known and known[name].module != module:
        where = f"in {known[name].module} and in {module}"
        raise DeclarationError(f"{kind} {name!r} is declared twice: {where}; rename one")
    known[name] = declared


def declared_in(kind: str, owner: str) -> dict[str, Any]:
    """Return what imported modules of the library (owner '') or of a study declare of a kind, by name."""
    return dict(_DECLARED.get((kind, owner), {}))


def metric(
    function: F | None = None, /, *, level: Level, tolerance: Tolerance, name: str | None = None, **facts: Any
) -> Any:
    """Declare a metric: a decorator for the function that computes it, whose docstring describes it.

    Args:
        function: the function, where the decorator is called directly.
        level: head, layer, model or run (see `Metric`).
        tolerance: how far means may differ between machines.
        name: its name in the tables; the function's name if left out.
        facts: further fields of `Metric`.

    Returns:
        The function, unchanged.

    Raises:
        DeclarationError: if two modules declare the same name, or there is no such level.
        TypeError: for a field that `Metric` does not have.
    """

    def declare(function: F) -> F:
        module = function.__module__
        if level not in get_args(Level):
            there = ", ".join(get_args(Level))
            raise DeclarationError(f"{module}: metric {function.__name__!r}: no level {level!r}; there are: {there}")
        declare_metric(
            Metric(
                name=name or function.__name__,
                level=level,
                compute=function,
                description=inspect.cleandoc(function.__doc__ or ""),
                tolerance=tolerance,
                owner=owner_of(module),
                module=module,
                **facts,
            )
        )
        return function

    return declare if function is None else declare(function)


def declare_metric(declared: Metric) -> Metric:
    """Declare a metric that is not computed by a function of its own; returns it."""
    _record("metric", declared.name, declared, declared.module)
    return declared


def task(name: str) -> Callable[[C], C]:
    """Declare a task: a decorator for a subclass of `TaskDefinition`.

    Args:
        name: how study.yaml and the scale files call it.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(cls: C) -> C:
        # Not every class has these attributes.
        declared: Any = cls
        declared.name, declared.owner, declared.module = name, owner_of(cls.__module__), cls.__module__
        _record("task", name, cls, cls.__module__)
        return cls

    return declare


def intervention(name: str) -> Callable[[C], C]:
    """Declare an intervention: a decorator for a dataclass that derives from `Clamp`.

    Args:
        name: its `type` in the configuration.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(cls: C) -> C:
        # Not every class has these attributes.
        declared: Any = cls
        owner = owner_of(cls.__module__)
        declared.type, declared.owner, declared.module = qualify(name, owner), owner, cls.__module__
        _record("intervention", name, cls, cls.__module__)
        return cls

    return declare


def ablation(*, evaluation_set: str, version: int = 1, name: str | None = None) -> Callable[[F], F]:
    """Declare a study's own ablations: a decorator for the function that gives their rows.

    Args:
        evaluation_set: the set on which effects are measured; arms whose task has it get these ablations.
        version: raised when the definition changes.
        name: its name; the function's name if left out.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(function: F) -> F:
        module = function.__module__
        _record(
            "ablation",
            name or function.__name__,
            Ablation(
                name=name or function.__name__,
                compute=function,
                evaluation_set=evaluation_set,
                description=inspect.cleandoc(function.__doc__ or ""),
                version=version,
                owner=owner_of(module),
                module=module,
            ),
            module,
        )
        return function

    return declare


def qualify(name: str, owner: str) -> str:
    """Return a declaration's name as it is known outside of its study.

    >>> qualify("tones", "mine2027"), qualify("words", "")
    ('mine2027.tones', 'words')
    """
    return f"{owner}.{name}" if owner else name
