"""Questions that held-out documents ask, and how well they are answered."""

import math

import pytest
import torch

from reinduce.config.arm_contents import applicable_metrics
from reinduce.config.task_definition import read_task
from reinduce.metrics.inputs import EvaluationSets, MetricInputs
from reinduce.studies.review2026.metrics import (
    Questions,
    answer_probability,
    read_questions,
    rescale_answers,
    sum_answers,
)
from reinduce.studies.review2026.tasks.icl_questions import KINDS, QuestionsSpec
from reinduce.tasks.language import LANGUAGE_SETS

TASK = "review2026.icl_questions"
SPEC = {"vocab_size": 128, "n_ctx": 128}


@pytest.fixture
def answers(prepare):
    """The set `answers` of twenty held-out documents."""
    made, folder = prepare(TASK, SPEC, {"heldout_examples": 20})
    assert [path.name for path in made.outputs][-1] == "answers.parquet"
    return EvaluationSets(folder, read_task(folder / "task.json"))["answers"]


def test_answers_lie_in_documents_of_their_kind(answers):
    questions = read_questions(answers)
    assert [asked.kind for asked in questions] == list(KINDS)
    assert {asked.kind: asked.chance for asked in questions} == QuestionsSpec(**SPEC).chance
    for number, asked in enumerate(questions):
        assert asked.is_answer.shape == (20, 127)
        asks = asked.is_answer.any(dim=1)
        assert asks.tolist() == [i % len(KINDS) == number for i in range(20)]
    assert read_questions(answers) is questions, "read once"


def test_tasks_without_questions_have_no_metric_of_answers(prepare):
    _, folder = prepare("repeated_phrases", SPEC)
    sets = EvaluationSets(folder, read_task(folder / "task.json"))
    assert "answers" not in sets and "answers" not in list(sets) and len(sets) == 3
    assert "answer_probability" not in applicable_metrics(LANGUAGE_SETS, 2, True, "review2026")
    assert "answer_probability" in applicable_metrics((*LANGUAGE_SETS, "answers"), 2, True, "review2026")


def test_documents_that_ask_nothing_of_a_kind_are_refused(answers):
    recall = read_questions(answers)[1]
    assert recall.among(slice(2)).is_answer.any()
    with pytest.raises(ValueError, match="^none of 1 documents asks a question of kind 'recall'$"):
        recall.among(slice(1))


def test_an_answer_is_worth_nothing_by_chance_and_one_for_certainty():
    member = torch.tensor([[True, False], [True, False]])
    for loss, expected in ((math.log(4), 0.0), (0.0, 1.0), (50.0, -1 / 3)):
        losses = torch.tensor([[loss, 9.0], [loss, 9.0]])
        assert rescale_answers(losses, member, 1 / 4).tolist() == pytest.approx([expected] * 2, abs=1e-6)


def test_an_untrained_model_answers_by_chance(score):
    found = score(TASK)
    kinds = [asked.kind for asked in read_questions(found.sets["answers"])]
    values = [found.of_model[f"answer_probability:{kind}"] for kind in kinds]
    assert len(values) == 5 and all(-0.35 < value < 0.1 for value in values)


def test_parts_of_the_documents_add_up_to_the_metric(score):
    """What ablations sum over parts of the documents is the metric of the same documents."""
    found = score(TASK, evaluation={"heldout_examples": 20}, chosen=["answer_probability"])
    tokens = found.sets["heldout"].tokens
    losses = torch.rand(3, 20, 127, generator=torch.Generator().manual_seed(1)) * 4
    parts = [
        sum_answers(losses[:, rows], found.sets, slice(0, 20), rows)
        for rows in (slice(0, 3), slice(3, 4), slice(4, 20))
    ]
    for copy in range(3):
        whole = answer_probability(MetricInputs(found.model, found.sets, found.settings, tokens, losses[copy]))
        assert list(whole) == list(KINDS)
        for kind, value in whole.items():
            assert sum(part[kind][copy].item() for part in parts) == pytest.approx(value, abs=1e-9)


def test_the_last_documents_alone_may_count(score):
    found = score(TASK, evaluation={"heldout_examples": 20}, chosen=["answer_probability"])
    losses = torch.rand(1, 10, 127, generator=torch.Generator().manual_seed(1)) * 4
    few = sum_answers(losses, found.sets, slice(10, 20), slice(0, 10))
    for asked in read_questions(found.sets["answers"]):
        last = Questions(asked.kind, asked.is_answer[10:], asked.chance)
        expected = rescale_answers(losses[0], last.is_answer, last.chance).mean().item()
        assert few[asked.kind].item() == pytest.approx(expected, abs=1e-9)
