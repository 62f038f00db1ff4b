"""The icl_questions task: what is called an answer is decided by the context before it, and by nothing else."""

import pytest
import torch

from reinduce.studies.review2026.tasks import icl_questions
from reinduce.studies.review2026.tasks.icl_questions import QuestionsSpec, QuestionStream

SPEC = QuestionsSpec(vocab_size=128, n_ctx=128)
N = 60


def made(kind):
    documents = icl_questions.documents(SPEC, torch.full((N,), icl_questions.KINDS.index(kind)), 5)
    return documents.tokens, documents.is_answer


def pairs(tokens):
    """Questions and what follows them [N, pairs]; the last question may lack its answer."""
    body = tokens[:, 1:]
    return body[:, 0:-1:2], body[:, 1::2]


def role(tokens):
    """0 start or label, 1 key, 2 synonym, 3 value."""
    return ((tokens - SPEC.first_key).div(SPEC.words, rounding_mode="floor") + 1).clamp(0, 3)


def test_every_kind_starts_alike_and_stays_in_the_vocabulary():
    for kind in icl_questions.KINDS:
        tokens, is_answer = made(kind)
        assert tokens.shape == is_answer.shape == (N, SPEC.n_ctx)
        assert (tokens[:, 0] == 0).all() and tokens[:, 1:].min() > 0 and tokens.max() < SPEC.vocab_size
        assert is_answer.any(dim=1).all(), kind


def test_a_repeated_list_is_answered_from_its_second_time_on():
    tokens, is_answer = made("repeat")
    for row, answers in zip(tokens.tolist(), is_answer.tolist(), strict=True):
        length = row.index(row[1], 2) - 1
        assert row[1 : 1 + length] == row[1 + length : 1 + 2 * length]
        assert 10 <= length <= 30 and len(set(row[1 : 1 + length])) == length
        assert answers == [i > length + 1 for i in range(SPEC.n_ctx)]


def test_recall_gives_a_key_the_same_value_each_time():
    tokens, is_answer = made("recall")
    keys, values = pairs(tokens)
    for row, value, answers in zip(keys.tolist(), values.tolist(), is_answer[:, 2::2].tolist(), strict=True):
        known = {}
        for key, given, answer in zip(row, value, answers, strict=True):
            assert answer == (key in known)
            assert known.setdefault(key, given) == given
        assert len(known) <= SPEC.keys
    assert set(role(keys).flatten().tolist()) == {1} and set(role(values).flatten().tolist()) == {3}


def test_synonyms_are_asked_after_their_keys_and_answered_with_their_values():
    tokens, is_answer = made("synonym")
    asked, values = pairs(tokens)
    answers = is_answer[:, 2::2]
    assert (role(asked)[answers] == 2).all() and (role(asked)[~answers] == 1).all()
    for row, value, answer in zip(asked.tolist(), values.tolist(), answers.tolist(), strict=True):
        known = {key: given for key, given, a in zip(row, value, answer, strict=True) if not a}
        for key, given, a in zip(row, value, answer, strict=True):
            assert not a or known[key - SPEC.words] == given
        assert len(set(row)) == len(row)


def test_mapping_follows_one_rule_and_repeats_no_key():
    tokens, is_answer = made("mapping")
    keys, values = pairs(tokens)
    table = icl_questions.rules(SPEC)
    follows = table[:, keys - SPEC.first_key] == values
    assert follows.all(dim=2).any(dim=0).all()
    assert all(len(set(row)) == len(row) for row in keys.tolist())
    assert not is_answer[:, 2].any() and is_answer[:, 4::2].all()
    classes = [set(row) for row in table.tolist()]
    assert not any(a & b for i, a in enumerate(classes) for b in classes[:i])


def test_most_labels_of_a_document_are_the_same():
    tokens, is_answer = made("majority")
    _, labels = pairs(tokens)
    most = labels.mode(dim=1).values
    assert abs((labels == most[:, None]).double().mean() - SPEC.majority) < 0.03
    assert labels.max() <= SPEC.labels and most.unique().numel() == SPEC.labels
    assert not is_answer[:, : 2 * icl_questions.SHOWN_LABELS + 1].any()
    assert is_answer[:, 2 * (icl_questions.SHOWN_LABELS + 1) :: 2].all()


def test_chance_is_what_one_who_knows_the_kind_alone_reaches():
    for kind, chance in SPEC.chance.items():
        tokens, is_answer = made(kind)
        counts = tokens[is_answer].bincount().double()
        if kind == "mapping":
            keys, values = pairs(tokens)
            table = icl_questions.rules(SPEC)
            right = (table[0][keys - SPEC.first_key] == values).double().mean()
        else:
            right = counts.max() / counts.sum()
        assert chance / 1.5 < right < 3 * chance, kind


def test_batches_do_not_depend_on_what_was_asked_before():
    one, other = QuestionStream(SPEC, 3), QuestionStream(SPEC, 3)
    one.batch(0, 8)
    assert torch.equal(one.batch(2, 8), other.batch(2, 8))
    assert not torch.equal(one.batch(2, 8), QuestionStream(SPEC, 4).batch(2, 8))
    assert one.batch(1, 1).shape == (1, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vocab_size": 64},
            "leaves 18 tokens each for keys, .*; 32 are needed: raise vocab_size to 105",
        ),
        ({"rules": 1}, "rules must be 2 or more, not 1"),
        ({"labels": 1}, "labels must be 2 or more, not 1"),
        ({"majority": 1.5}, "majority must lie between 0 and 1"),
        ({"list_length": (9, 3)}, "list_length must be a range"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        QuestionsSpec(**({"vocab_size": 128, "n_ctx": 128} | change))
