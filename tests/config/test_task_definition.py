"""A task.json is read whole or refused with one sentence."""

import copy
import json

import pytest

from reinduce.config.declare import owner_of
from reinduce.config.find import find_all
from reinduce.config.task_definition import TaskDefinition, build_task, read_task
from reinduce.tasks.language import LanguageSizes
from reinduce.tasks.repeated_phrases import PhrasesSpec, RepeatedPhrases
from reinduce.tasks.source_text import SourceText, SourceTextSpec

VALUES = {
    "task": "repeated_phrases",
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


STUDIES = ("", "olsson2022", "review2026", "singh2024")


def declared_tasks():
    """Every declared task, each once."""
    return list(dict.fromkeys(task for study in STUDIES for task in find_all("task", study).values()))


def test_tasks_offer_the_same_names():
    assert [task.qualified_name() for task in declared_tasks()] == [
        "repeated_phrases",
        "source_text",
        "olsson2022.synonyms",
        "review2026.bigram_mixture",
        "review2026.icl_questions",
        "singh2024.fewshot_classification",
    ]


@pytest.mark.parametrize("task", declared_tasks(), ids=lambda task: task.qualified_name())
def test_a_task_declares_all_that_stages_ask_of_it(task):
    assert issubclass(task, TaskDefinition) and task.owner == owner_of(task.module)
    assert {"vocab_size", "n_ctx"} <= set(task.Spec.__dataclass_fields__)
    assert task.stream_name and task.evaluation_sets
    assert set(task.training_files) <= set(task.data_files)
    assert len(set(task.file_names())) == len(task.file_names()) >= len(task.evaluation_sets)
    own = ("set_sizes", "write_data", "training_stream")
    assert all(getattr(task, name) is not getattr(TaskDefinition, name) for name in own)


def test_values_become_a_task(write):
    task = read_task(write())
    assert isinstance(task, RepeatedPhrases) and task.qualified_name() == "repeated_phrases"
    assert task.spec == PhrasesSpec(vocab_size=128, n_ctx=128)
    assert (task.sizes.heldout_examples, task.sizes.repeat_length, task.sizes.repeats) == (64, 25, 4)


def test_lists_of_packages_become_a_specification(write):
    task = read_task(write(task="source_text", spec={"n_ctx": 128, "packages": ["sympy"]}))
    assert task.spec == SourceTextSpec(n_ctx=128, packages=("sympy",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "speech"}, "no task 'speech'; there are: repeated_phrases, source_text"),
        ({"extra": 1}, "a task has evaluation, spec, task, not evaluation, extra, spec, task"),
        ({"spec__words": 3}, "PhrasesSpec: unknown words; expected vocab_size, n_ctx"),
        ({"spec": {"vocab_size": 128}}, "PhrasesSpec: .*missing.*'n_ctx'"),
        ({"evaluation__heldout": 3}, "LanguageSizes: unknown heldout"),
        (
            {"spec__n_ctx": 100},
            "a start token and 4 repeats of 25 tokens make 101, more than the context of 100; lower repeat_length",
        ),
        (
            {"spec__vocab_size": 25},
            "repeat_length is 25, but a vocabulary of 25 has only 24 distinct tokens beside the start token",
        ),
    ],
)
def test_wrong_values_are_named_with_their_file(write, changes, message):
    with pytest.raises(ValueError, match=rf"task\.json: .*{message}"):
        read_task(write(**changes))


def test_a_task_that_just_fits_is_accepted(write):
    assert read_task(write(spec__n_ctx=101)).spec.n_ctx == 101


def test_missing_and_broken_files_are_named(tmp_path):
    path = tmp_path / "task.json"
    with pytest.raises(FileNotFoundError, match="task.json: no such task"):
        read_task(path)
    path.write_text('{"task": ')
    with pytest.raises(ValueError, match="task.json: Expecting value"):
        read_task(path)


def test_ones_own_files_are_those_that_a_task_is_made_from(tmp_path):
    sizes = LanguageSizes(heldout_examples=5, repeat_length=2, repeats=2)
    for name in ("b.txt", "deep/a.txt", "c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    folder = SourceText(SourceTextSpec(n_ctx=8, source="folder", path=str(tmp_path)), sizes)
    assert folder.user_files() == [tmp_path / "b.txt", tmp_path / "deep/a.txt"]
    one = SourceText(SourceTextSpec(n_ctx=8, source="parquet", path="texts.parquet"), sizes)
    assert [path.as_posix() for path in one.user_files()] == ["texts.parquet"]
    assert RepeatedPhrases(PhrasesSpec(vocab_size=32, n_ctx=8), sizes).user_files() == []


def test_packages_of_a_task_are_those_whose_files_are_its_text():
    sizes = LanguageSizes(heldout_examples=5, repeat_length=2, repeats=2)
    assert SourceText(SourceTextSpec(n_ctx=8, packages=("sympy",)), sizes).packages() == ["tokenizers", "sympy"]
    assert SourceText(SourceTextSpec(n_ctx=8, source="folder", path="texts"), sizes).packages() == []


def test_the_content_of_a_task_makes_the_same_task_again(write):
    task = read_task(write())
    again = build_task(json.loads(json.dumps(task.content())))
    assert type(again) is type(task) and (again.spec, again.sizes) == (task.spec, task.sizes)


def test_a_studys_task_is_known_by_its_study(write):
    with pytest.raises(ValueError, match="no task 'synonyms'; there are: repeated_phrases, source_text"):
        read_task(write(task="synonyms"))
    task = read_task(write(task="olsson2022.synonyms"))
    assert (
        task.qualified_name() == "olsson2022.synonyms" and task.module == "reinduce.studies.olsson2022.tasks.synonyms"
    )
    listed = "there are: repeated_phrases, source_text, olsson2022.synonyms"
    with pytest.raises(ValueError, match=rf"no task 'olsson2022.speech'; {listed}"):
        read_task(write(task="olsson2022.speech"))
    with pytest.raises(ValueError, match="no task 'nobody1999.speech'; there are: repeated_phrases, source_text"):
        read_task(write(task="nobody1999.speech"))
