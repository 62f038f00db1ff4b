"""Tasks: the distributions that sequences come from.

Each task is a module with two names:

- `Spec`, a dataclass that describes the distribution; every one has `vocabulary` and `context`;
- `Stream(spec, data_dir, seed)`, whose `batch(step, n)` gives the training tokens
  [n, context] (int64, the start token 0 first) of a replicate's step. A batch depends on
  seed, step and n alone, never on earlier calls, so that a resumed run sees what an
  uninterrupted one would have seen. Where token ids stand for vectors, `features` holds those
  that training shows.

The evaluation sets that all tasks of language share are described in `evaluation`; a task with
others says so by an `Evaluation` of its own. Where sequences hold one token more than
`context`, that token alone is to be predicted.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from reinduce.config.specs import from_dict, require
from reinduce.task import exemplars, phrases, source_text, suite, synonyms, topics
from reinduce.task.evaluation import EvaluationSpec

TASKS = {
    "phrases": phrases,
    "synonyms": synonyms,
    "topics": topics,
    "suite": suite,
    "exemplars": exemplars,
    "source_text": source_text,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A distribution and the evaluation sets frozen from it."""

    name: str
    """A name in TASKS."""
    spec: phrases.Spec | synonyms.Spec | topics.Spec | suite.Spec | exemplars.Spec | source_text.Spec
    """The distribution."""
    evaluation: EvaluationSpec | exemplars.Evaluation
    """The frozen evaluation sets."""

    def __post_init__(self) -> None:
        self.evaluation.check(self.spec.vocabulary, self.spec.context)


def evaluation_kind(task: str) -> type:
    """What describes a task's frozen sets: the task's own `Evaluation`, else that of language."""
    return getattr(TASKS[task], "Evaluation", EvaluationSpec)


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
        evaluation=from_dict(evaluation_kind(name), values["evaluation"]),
    )
