"""A task.json is read whole or refused with one sentence."""

import copy
import dataclasses
import json

import pytest
from reinduce.task import TASKS, exemplars, phrases, read_task, source_text, suite, synonyms, topics
from reinduce.task.specs import own_files

VALUES = {
    "task": "phrases",
    "spec": {"vocab_size": 128, "n_ctx": 128, "phrase_length": [3, 6]},
    "evaluation": {"heldout_examples": 64},
}


@pytest.fixture
def write(tmp_path):
    """Write a task.json with some values replaced, by dotted name."""

    def write(**changes):
        values = copy.deepcopy(VALUES)
        for name, value in changes.items():
            *parents, key = name.split("__")
            part = values
            for parent in parents:
                part = part[parent]
            part[key] = value
        path = tmp_path / "task.json"
        path.write_text(json.dumps(values))
        return path

    return write


def test_tasks_offer_the_same_names():
    modules = (phrases, synonyms, topics, suite, exemplars, source_text)
    for (name, task), module in zip(TASKS.items(), modules, strict=True):
        assert module.__name__ == f"reinduce.task.{name}"
        assert (task.Spec, task.Stream) == (module.Spec, module.Stream)
        assert {"vocabulary", "context"} <= set(task.Spec.__dataclass_fields__)
        assert callable(task.Stream.batch)


def test_values_become_a_task(write):
    task = read_task(write())
    assert task.name == "phrases"
    assert task.spec == phrases.Spec(vocab_size=128, n_ctx=128)
    assert (task.evaluation.heldout_examples, task.evaluation.repeat_length, task.evaluation.repeats) == (64, 25, 4)


def test_lists_of_packages_become_a_specification(write):
    task = read_task(write(task="source_text", spec={"n_ctx": 128, "packages": ["sympy"]}))
    assert task.spec == source_text.Spec(n_ctx=128, packages=("sympy",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "speech"}, "no task 'speech'; there are: phrases, synonyms, topics, suite, exemplars, source_text"),
        ({"extra": 1}, "a task has evaluation, spec, task, not evaluation, extra, spec, task"),
        ({"spec__words": 3}, "PhrasesSpec: unknown words; expected vocabulary, context"),
        ({"spec": {"vocab_size": 128}}, "PhrasesSpec: .*missing.*'context'"),
        ({"evaluation__heldout": 3}, "EvaluationSpec: unknown heldout"),
        (
            {"spec__context": 100},
            "a start token and 4 repeats of 25 tokens make 101, more than the context of 100; lower repeat_length",
        ),
        (
            {"spec__vocabulary": 25},
            "repeat_length is 25, but a vocabulary of 25 has only 24 distinct tokens beside the start token",
        ),
    ],
)
def test_wrong_values_are_named_with_their_file(write, changes, message):
    with pytest.raises(ValueError, match=rf"task\.json: .*{message}"):
        read_task(write(**changes))


def test_a_task_that_just_fits_is_accepted(write):
    assert read_task(write(spec__context=101)).spec.n_ctx == 101


def test_missing_and_broken_files_are_named(tmp_path):
    path = tmp_path / "task.json"
    with pytest.raises(FileNotFoundError, match="task.json: no such task"):
        read_task(path)
    path.write_text('{"task": ')
    with pytest.raises(ValueError, match="task.json: Expecting value"):
        read_task(path)


def test_ones_own_files_are_those_that_a_task_is_made_from(tmp_path):
    for name in ("b.txt", "deep/a.txt", "c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    folder = source_text.SourceTextSpec(n_ctx=8, source="folder", path=str(tmp_path))
    assert own_files(dataclasses.asdict(folder)) == [tmp_path / "b.txt", tmp_path / "deep/a.txt"]
    one = source_text.SourceTextSpec(n_ctx=8, source="parquet", path="texts.parquet")
    assert [path.as_posix() for path in own_files(dataclasses.asdict(one))] == ["texts.parquet"]
    # That a folder holds no vectors is said by who reads them.
    vectors = exemplars.Spec(source="file", path=str(tmp_path))
    assert own_files(dataclasses.asdict(vectors)) == [tmp_path]
    assert own_files(dataclasses.asdict(exemplars.Spec())) == []
    assert own_files(dataclasses.asdict(phrases.Spec(vocab_size=32, n_ctx=8))) == []
