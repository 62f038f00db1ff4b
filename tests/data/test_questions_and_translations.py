"""What the tasks that translate and that ask write beside their frozen sets."""

import torch
from reinduce.task.evaluation import read_examples, read_questions
from reinduce.task.suite import KINDS, SuiteSpec

from reinduce.score.checkpoint import read_frozen_sets

PERIOD, MEANINGS = 9, 31


def test_translations_keep_the_order_and_the_control_does_not(prepare):
    made, folder = prepare("synonyms", {"vocab_size": 64, "n_ctx": 64}, {"repeat_length": PERIOD})
    assert [path.name for path in made.outputs][-1] == "translated.parquet"
    translated, shuffled = (read_examples(folder / "translated.parquet", c) for c in ("tokens", "shuffled"))
    assert translated.shape == shuffled.shape == (10, 1 + 2 * PERIOD)
    said, other = translated[:, 1 : 1 + PERIOD], translated[:, 1 + PERIOD :]
    assert torch.equal(other, said + MEANINGS) and said.min() > 0 and said.max() <= MEANINGS
    assert torch.equal(shuffled[:, : 1 + PERIOD], translated[:, : 1 + PERIOD])
    mixed = shuffled[:, 1 + PERIOD :]
    assert torch.equal(mixed.sort(dim=1).values, other.sort(dim=1).values)
    # By chance one in nine keeps its place.
    assert (mixed == other).double().mean() < 0.3
    sets = read_frozen_sets(folder)
    assert list(sets.translated) == ["fuzzy_matching", "fuzzy_matching_shuffled"] and not sets.questions
    assert sets.repeated[:, 1:].max() <= MEANINGS, "no two words of one meaning"


def test_answers_lie_in_documents_of_their_kind(prepare):
    spec = {"vocab_size": 128, "n_ctx": 128}
    made, folder = prepare("suite", spec, {"heldout_examples": 20})
    assert [path.name for path in made.outputs][-1] == "answers.parquet"
    questions = read_questions(folder)
    assert [asked.kind for asked in questions] == list(KINDS)
    assert {asked.kind: asked.chance for asked in questions} == SuiteSpec(**spec).chance
    for number, asked in enumerate(questions):
        assert asked.is_answer.shape == (20, 127)
        asks = asked.is_answer.any(dim=1)
        assert asks.tolist() == [i % len(KINDS) == number for i in range(20)]
    assert read_questions(prepare("phrases", spec, out="other")[1]) == []


def test_documents_that_ask_nothing_of_a_kind_are_refused(prepare):
    _, folder = prepare("suite", {"vocab_size": 128, "n_ctx": 128}, {"heldout_examples": 20})
    recall = read_questions(folder)[1]
    assert recall.among(slice(2)).is_answer.any()
    try:
        recall.among(slice(1))
    except ValueError as error:
        assert str(error) == "none of 1 documents asks a question of kind 'recall'"
    else:
        raise AssertionError("a kind without questions passed")
