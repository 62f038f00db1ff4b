"""Tasks: the distributions that sequences come from.

Each task is a module of its name with two names in it:

- `Spec`, the dataclass of `specs` that describes the distribution; every one has `vocabulary`
  and `context`;
- `Stream(spec, data_dir, seed)`, whose `batch(step, n)` gives the training tokens
  [n, context] (int64, the start token 0 first) of a replicate's step. A batch depends on
  seed, step and n alone, never on earlier calls, so that a resumed run sees what an
  uninterrupted one would have seen. Where token ids stand for vectors, `features` holds those
  that training shows.

`TASKS` offers both, and imports the module, and torch with it, only once a stream is wanted.

The evaluation sets that all tasks of language share are described in `evaluation`; a task with
others says so by an `Evaluation` of its own. Where sequences hold one token more than
`context`, that token alone is to be predicted.
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from reinduce.config.specs import from_dict, require
from reinduce.task.specs import (
    EvaluationSpec,
    ExemplarsEvaluation,
    ExemplarsSpec,
    PhrasesSpec,
    SourceTextSpec,
    SuiteSpec,
    SynonymsSpec,
    TopicsSpec,
)


@dataclass(frozen=True)
class Kind:
    """A task as its module offers it."""

    name: str
    """The module's name."""
    Spec: type
    """What describes the distribution."""
    Evaluation: type = EvaluationSpec
    """What describes the frozen evaluation sets."""

    @property
    def Stream(self) -> type:
        """What draws training tokens."""
        return import_module(f"{__name__}.{self.name}").Stream


TASKS = {
    kind.name: kind
    for kind in (
        Kind("phrases", PhrasesSpec),
        Kind("synonyms", SynonymsSpec),
        Kind("topics", TopicsSpec),
        Kind("suite", SuiteSpec),
        Kind("exemplars", ExemplarsSpec, ExemplarsEvaluation),
        Kind("source_text", SourceTextSpec),
    )
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A distribution and the evaluation sets frozen from it."""

    name: str
    """A name in TASKS."""
    spec: PhrasesSpec | SynonymsSpec | TopicsSpec | SuiteSpec | ExemplarsSpec | SourceTextSpec
    """The distribution."""
    evaluation: EvaluationSpec | ExemplarsEvaluation
    """The frozen evaluation sets."""

    def __post_init__(self) -> None:
        self.evaluation.check(self.spec.vocabulary, self.spec.context)


def read_task(path: str | Path) -> Task:
    """Read a task.json: {"task": name, "spec": {...}, "evaluation": {...}}.

    Raises FileNotFoundError or ValueError naming the file and what is wrong in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such task; `reinduce data` writes one into each data folder")
    try:
        return task_from(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def task_from(values: dict) -> Task:
    """Build a task from the plain values of a task.json.

    Raises ValueError for an unknown task, or naming the missing, unknown or wrong key.
    """
    wanted = {"task", "spec", "evaluation"}
    require(set(values) == wanted, f"a task has {', '.join(sorted(wanted))}, not {', '.join(sorted(values))}")
    name = values["task"]
    require(name in TASKS, f"no task {name!r}; there are: {', '.join(TASKS)}")
    return Task(
        name=name,
        spec=from_dict(TASKS[name].Spec, values["spec"]),
        evaluation=from_dict(TASKS[name].Evaluation, values["evaluation"]),
    )
