"""The topics task: every document follows one table."""

import pytest
import torch
from reinduce.task import phrases, topics

SPEC = topics.Spec(vocab_size=128, n_ctx=128)


def test_a_tables_successors_are_distinct_and_of_one_class():
    tables = topics.successor_tables(SPEC)
    assert tables.shape == (8, 128, 8)
    classes = [set(table.flatten().tolist()) for table in tables]
    assert all(len(members) == 15 for members in classes)
    assert not any(a & b for i, a in enumerate(classes) for b in classes[:i])
    assert 0 not in set().union(*classes)
    assert all(len(set(row)) == 8 for table in tables.tolist() for row in table)


def test_runs_follow_the_documents_own_table():
    tables, which = topics.successor_tables(SPEC), topics.tables_of(SPEC, 200, 3)
    documents = phrases.annotated(SPEC, tables[which], 200, 4)
    inside = (~documents.is_phrase & (documents.offset > 0))[:, 1:]
    before, after = documents.tokens[:, :-1], documents.tokens[:, 1:]
    follows = (tables[which][torch.arange(200)[:, None], before] == after[..., None]).any(dim=-1)
    assert follows[inside].all() and inside.double().mean() > 0.2
    assert follows[documents.is_phrase[:, 1:]].double().mean() < 0.2
    assert which.bincount(minlength=8).min() > 5


def test_annotated_documents_are_the_plain_ones():
    spec = phrases.Spec(vocab_size=128, n_ctx=128)
    table = phrases.successor_table(spec)
    made = phrases.annotated(spec, table, 20, 9)
    assert torch.equal(made.tokens, phrases.documents(spec, table, 20, 9))
    assert torch.equal(made.tokens, phrases.documents(spec, table.expand(20, -1, -1), 20, 9))
    assert made.offset.max() <= 5 and made.offset[:, :2].max() == 0


def test_batches_do_not_depend_on_what_was_asked_before():
    one, other = topics.Stream(SPEC, "nowhere", 3), topics.Stream(SPEC, "nowhere", 3)
    one.batch(0, 8)
    assert torch.equal(one.batch(2, 8), other.batch(2, 8))
    assert not torch.equal(one.batch(2, 8), topics.Stream(SPEC, "nowhere", 4).batch(2, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tables": 1}, "tables must be 2 or more, not 1"),
        ({"tables": 16}, "successors is 8, but 16 tables leave a class of 7 tokens"),
        ({"phrases": 0}, "phrases must be positive"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        topics.Spec(**({"vocab_size": 128, "n_ctx": 128} | change))
