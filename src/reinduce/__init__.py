"""Re-derives what the literature claims about induction heads and in-context learning.

The public interface, each name imported when it is first used:

- `load`: a table of results as a data frame;
- `Transformer`, `Intervention`, `load_checkpoint`: models, their activations and what is done to them;
- `metric`, `task`, `intervention`, `ablation`: decorators by which a study declares its own;
- `TaskDefinition`, `Clamp`, `MetricInputs`, `Tolerance`: what declarations are made of.
"""

import importlib
from typing import Any

_WHERE = {
    "load": "reinduce.report.read",
    "Transformer": "reinduce.model.transformer",
    "Intervention": "reinduce.model.interventions",
    "load_checkpoint": "reinduce.model.checkpoint",
    "Clamp": "reinduce.model.clamps",
    "MetricInputs": "reinduce.metrics.inputs",
    "TaskDefinition": "reinduce.config.task_definition",
    "Tolerance": "reinduce.config.declare",
    "metric": "reinduce.config.declare",
    "task": "reinduce.config.declare",
    "intervention": "reinduce.config.declare",
    "ablation": "reinduce.config.declare",
}
"""Public name → the module that defines it."""

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
