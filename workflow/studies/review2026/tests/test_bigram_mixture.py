"""The bigram_mixture task: every document follows one table."""

import pytest
import torch

from reinduce.studies.review2026.tasks import bigram_mixture
from reinduce.studies.review2026.tasks.bigram_mixture import MixtureSpec, MixtureStream
from reinduce.tasks import repeated_phrases

SPEC = MixtureSpec(vocab_size=128, n_ctx=128)


def test_a_tables_successors_are_distinct_and_of_one_class():
    tables = bigram_mixture.successor_tables(SPEC)
    assert tables.shape == (8, 128, 8)
    classes = [set(table.flatten().tolist()) for table in tables]
    assert all(len(members) == 15 for members in classes)
    assert not any(a & b for i, a in enumerate(classes) for b in classes[:i])
    assert 0 not in set().union(*classes)
    assert all(len(set(row)) == 8 for table in tables.tolist() for row in table)


def test_runs_follow_the_documents_own_table():
    tables, which = bigram_mixture.successor_tables(SPEC), bigram_mixture.tables_of(SPEC, 200, 3)
    documents = repeated_phrases.annotated(SPEC, tables[which], 200, 4)
    inside = (~documents.is_phrase & (documents.offset > 0))[:, 1:]
    before, after = documents.tokens[:, :-1], documents.tokens[:, 1:]
    follows = (tables[which][torch.arange(200)[:, None], before] == after[..., None]).any(dim=-1)
    assert follows[inside].all() and inside.double().mean() > 0.2
    assert follows[documents.is_phrase[:, 1:]].double().mean() < 0.2
    assert which.bincount(minlength=8).min() > 5


def test_batches_do_not_depend_on_what_was_asked_before():
    one, other = MixtureStream(SPEC, 3), MixtureStream(SPEC, 3)
    one.batch(0, 8)
    assert torch.equal(one.batch(2, 8), other.batch(2, 8))
    assert not torch.equal(one.batch(2, 8), MixtureStream(SPEC, 4).batch(2, 8))


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
        MixtureSpec(**({"vocab_size": 128, "n_ctx": 128} | change))
