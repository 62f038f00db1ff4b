"""The synonyms task: the same things said in two languages."""

import pytest
import torch

from reinduce.studies.olsson2022.tasks import synonyms
from reinduce.studies.olsson2022.tasks.synonyms import SynonymsSpec, SynonymStream
from reinduce.tasks import repeated_phrases

SPEC = SynonymsSpec(vocab_size=128, n_ctx=128)


def said_and_language(tokens):
    return torch.where(tokens > SPEC.meanings, tokens - SPEC.meanings, tokens), tokens > SPEC.meanings


def test_documents_are_phrases_in_two_languages():
    tokens = synonyms.documents(SPEC, 50, 3, 4)
    meanings, second = said_and_language(tokens)
    said = repeated_phrases.annotated(SPEC.of_meanings, repeated_phrases.successor_table(SPEC.of_meanings), 50, 3)
    assert torch.equal(meanings, said.tokens)
    assert (tokens[:, 0] == 0).all() and tokens.max() <= 126
    assert 0.4 < second[:, 1:].double().mean() < 0.6


def test_a_segment_keeps_to_one_language():
    tokens = synonyms.documents(SPEC, 50, 3, 4)
    _, second = said_and_language(tokens)
    said = repeated_phrases.annotated(SPEC.of_meanings, repeated_phrases.successor_table(SPEC.of_meanings), 50, 3)
    inside = said.offset[:, 1:] > 0
    assert (second[:, 1:] == second[:, :-1])[inside].all()
    assert 0.4 < (second[:, 2:] == second[:, 1:-1])[~inside[:, 1:]].double().mean() < 0.6


def test_language_and_content_have_seeds_of_their_own():
    meanings = [said_and_language(synonyms.documents(SPEC, 8, 3, language))[0] for language in (4, 5)]
    assert torch.equal(*meanings)
    assert not torch.equal(synonyms.documents(SPEC, 8, 3, 4), synonyms.documents(SPEC, 8, 3, 5))


def test_batches_do_not_depend_on_what_was_asked_before():
    one, other = SynonymStream(SPEC, 3), SynonymStream(SPEC, 3)
    one.batch(0, 8)
    assert torch.equal(one.batch(2, 8), other.batch(2, 8))
    assert not torch.equal(one.batch(2, 8), SynonymStream(SPEC, 4).batch(2, 8))


def test_two_words_a_meaning_must_leave_enough_successors():
    with pytest.raises(ValueError, match="successors is 8, but a vocabulary of 15 tokens has two words for only 7"):
        SynonymsSpec(vocab_size=15, n_ctx=64)
