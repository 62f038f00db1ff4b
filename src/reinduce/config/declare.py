"""Declarations: tasks, metrics, interventions and ablations, each declared once and found by its name.

A library module or a study's module declares with the decorators `task`, `metric`, `intervention` and
`ablation`. Stages, rules and configuration know no declaration by name: they ask `find_all` and `find`,
which import the modules that may declare one. Library names are plain (`repeated_phrases`); outside of
its own study, a study's name carries the study (`singh2024.force_match`).

| declared | library modules | modules of a study |
|---|---|---|
| task | `reinduce.tasks.*` | `tasks`, `tasks.*` |
| metric | `reinduce.metrics.*` | `metrics`, `metrics.*` |
| intervention | `reinduce.model.clamps` | `interventions`, `interventions.*` |
| ablation | – | `interventions`, `interventions.*` |
"""

import importlib
import importlib.util
import inspect
import pkgutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from reinduce.config.deferred_torch import torch_deferred

STUDIES = "reinduce.studies"
LIBRARY_MODULES = {
    "task": ("reinduce.tasks",),
    "metric": ("reinduce.metrics",),
    "intervention": ("reinduce.model.clamps",),
    "ablation": (),
}
"""Kind of declaration → library packages and modules that declare it."""
STUDY_MODULES = {"task": "tasks", "metric": "metrics", "intervention": "interventions", "ablation": "interventions"}
"""Kind of declaration → the module or package of a study that declares it."""

Level = Literal["head", "layer", "model", "run", "effect"]


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
    compute: Callable | None
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
    after: tuple[str, ...] = ()
    """Metrics of the same checkpoint whose values it needs; of a run's metric, those whose curves it needs."""
    min_layers: int = 1
    """Fewest layers that a model needs to have it."""
    only_ends: bool = False
    """Whether it is measured at the first and last checkpoint alone."""
    token_weights: Callable | None = None
    """For means of losses: a function of the evaluation set and the settings that returns the weight of every
    predicted token [B T-1] (or None where no token counts). Ablations measure such metrics too."""
    summand: Callable | None = None
    """For other metrics that ablations measure: a function of losses [C b T-1] of copies of the model on some rows of
    the set, the evaluation sets, how many examples count in all, and the rows; it returns {suffix: [C]}, what these
    rows contribute to the metric."""
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
    compute: Callable
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

    >>> owner_of("reinduce.studies.singh2024.metrics"), owner_of("reinduce.metrics.heads")
    ('singh2024', '')
    """
    return module.removeprefix(f"{STUDIES}.").split(".")[0] if module.startswith(f"{STUDIES}.") else ""


def _record(kind: str, name: str, declared: Any, module: str) -> None:
    known = _DECLARED.setdefault((kind, owner_of(module)), {})
    if name in known and known[name].module != module:
        where = f"in {known[name].module} and in {module}"
        raise DeclarationError(f"{kind} {name!r} is declared twice: {where}; rename one")
    known[name] = declared


def metric(
    function: Callable | None = None, /, *, level: Level, tolerance: Tolerance, name: str | None = None, **facts: Any
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
        DeclarationError: if two modules declare the same name.
        TypeError: for a field that `Metric` does not have.
    """

    def declare(function: Callable) -> Callable:
        module = function.__module__
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


def task(name: str) -> Callable[[type], type]:
    """Declare a task: a decorator for a subclass of `TaskDefinition`.

    Args:
        name: how study.yaml and the scale files call it.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(cls: type) -> type:
        cls.name, cls.owner, cls.module = name, owner_of(cls.__module__), cls.__module__
        _record("task", name, cls, cls.__module__)
        return cls

    return declare


def intervention(name: str) -> Callable[[type], type]:
    """Declare an intervention: a decorator for a dataclass that derives from `Clamp`.

    Args:
        name: its `type` in the configuration.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(cls: type) -> type:
        cls.type, cls.owner, cls.module = (
            qualify(name, owner_of(cls.__module__)),
            owner_of(cls.__module__),
            cls.__module__,
        )
        _record("intervention", name, cls, cls.__module__)
        return cls

    return declare


def ablation(*, evaluation_set: str, version: int = 1, name: str | None = None) -> Callable[[Callable], Callable]:
    """Declare a study's own ablations: a decorator for the function that gives their rows.

    Args:
        evaluation_set: the set on which effects are measured; arms whose task has it get these ablations.
        version: raised when the definition changes.
        name: its name; the function's name if left out.

    Raises:
        DeclarationError: if two modules declare the same name.
    """

    def declare(function: Callable) -> Callable:
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

    >>> qualify("force_match", "singh2024"), qualify("zero_head", "")
    ('singh2024.force_match', 'zero_head')
    """
    return f"{owner}.{name}" if owner else name


def find_all(kind: str, study: str = "") -> dict[str, Any]:
    """Return everything of a kind that the library and a study declare.

    Args:
        kind: task, metric, intervention or ablation.
        study: a study's key; '': the library alone.

    Returns:
        Name → declaration, by the names that the study itself uses.

    Raises:
        DeclarationError: if a study's module cannot be imported, or the study declares a name that the library has.
    """
    for module in LIBRARY_MODULES[kind]:
        _import_with_submodules(module)
    found = dict(_DECLARED.get((kind, ""), {}))
    if study:
        _import_with_submodules(f"{STUDIES}.{study}.{STUDY_MODULES[kind]}")
        own = _DECLARED.get((kind, study), {})
        taken = sorted(set(found) & set(own))
        if taken:
            where = own[taken[0]].module
            raise DeclarationError(f"{where}: the library already has a {kind} {taken[0]!r}; give yours another name")
        found |= own
    return found


def find(kind: str, name: str) -> Any:
    """Return one declaration by its qualified name.

    Raises:
        ValueError: if there is none, listing those that there are.
    """
    study, _, plain = name.rpartition(".")
    known = find_all(kind, study)
    if plain not in known or known[plain].owner != study:
        there = ", ".join(qualify(other, declared.owner) for other, declared in known.items())
        raise ValueError(f"no {kind} {name!r}; there are: {there}")
    return known[plain]


@cache
def _import_with_submodules(name: str) -> None:
    """Import a module and, of a package, all its modules; do nothing for a study's module that does not exist."""
    if not _exists(name):
        return
    with torch_deferred():
        package = _import(name)
        for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
            _import(f"{name}.{found.name}")


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _import(name: str) -> Any:
    """Import a module.

    Raises:
        DeclarationError: with file, line and error, if a study's module fails; errors of the library stay as they are.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        if not name.startswith(f"{STUDIES}.") or isinstance(error, DeclarationError):
            raise
        where = _place_of(error, name)
        raise DeclarationError(f"{where}: {type(error).__name__}: {error}; correct the study's code") from None


def _place_of(error: Exception, module: str) -> str:
    """Return file and line of the study's code that an import failed at."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    folders = [str(Path(folder)) for folder in importlib.import_module(STUDIES).__path__]
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(frame.filename.startswith(folder) for folder in folders)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else module


def modules_of(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return the modules of some declarations, each once.

    Args:
        names: pairs of kind and qualified name.
    """
    return list(dict.fromkeys(find(kind, name).module for kind, name in names))


def applicable_metrics(
    sets: Iterable[str], layers: int, has_heads: bool, study: str, chosen: Iterable[str] | None = None
) -> dict[str, Metric]:
    """Return the metrics that a model on a task has, in an order in which each follows those it needs.

    Args:
        sets: names of the task's evaluation sets.
        layers: layers of the model.
        has_heads: whether it has attention heads.
        study: the arm's study, whose own metrics count beside the library's.
        chosen: names to choose from them, with what they need; None: all.

    Raises:
        ValueError: for a chosen metric that there is not, or that this model or task cannot have.
    """
    there = set(sets)
    known = find_all("metric", study)
    fits = {
        name: found
        for name, found in known.items()
        if found.level != "effect" and found.compute is not None and _fits(found, known, there, layers, has_heads)
    }
    if chosen is not None:
        fits = _with_needed(chosen, known, fits)
    return dict(_ordered(fits))


def _fits(found: Metric, known: Mapping[str, Metric], sets: set[str], layers: int, has_heads: bool) -> bool:
    if found.level == "run":
        # A curve that needs heads is empty for a model without; the run's metric is then null, not missing.
        return all(name in known and set(known[name].sets) <= sets for name in found.after)
    own = set(found.sets) <= sets and layers >= found.min_layers and (has_heads or not found.needs_heads)
    return own and all(name in known and _fits(known[name], known, sets, layers, has_heads) for name in found.after)


def _with_needed(chosen: Iterable[str], known: Mapping[str, Metric], fits: Mapping[str, Metric]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    waiting = list(chosen)
    while waiting:
        name = waiting.pop(0)
        if name not in known:
            raise ValueError(f"no metric {name!r}; there are: {', '.join(sorted(fits))}")
        if name not in fits:
            raise ValueError(f"metric {name!r} cannot be measured here: it needs {_needs(known[name])}")
        if name not in found:
            found[name] = fits[name]
            waiting += [other for other in fits[name].after if other in fits]
    return found


def _needs(found: Metric) -> str:
    parts = [f"the evaluation sets {', '.join(found.sets)}"] if found.sets else []
    parts += ["attention heads"] if found.needs_heads else []
    parts += [f"{found.min_layers} layers or more"] if found.min_layers > 1 else []
    return " and ".join(parts) or "other metrics that this arm lacks"


def _ordered(metrics: Mapping[str, Metric]) -> Iterator[tuple[str, Metric]]:
    placed: set[str] = set()

    def place(name: str) -> Iterator[tuple[str, Metric]]:
        if name in placed or name not in metrics:
            return
        placed.add(name)
        for needed in metrics[name].after:
            yield from place(needed)
        yield name, metrics[name]

    for name in metrics:
        yield from place(name)
