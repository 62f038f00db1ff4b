"""Which tokens can be predicted by copying, against a slow and obvious version."""

import pytest
import torch

from reinduce.tasks.token_classes import completes_seen_bigram


def slow_completion(example):
    """The definition, word for word."""
    found = [False] * len(example)
    for t in range(2, len(example)):
        earlier = {(example[s - 1], example[s]) for s in range(2, t)}
        found[t] = (example[t - 1], example[t]) in earlier
    return found


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 30), (6, 40), (100, 60), (3, 3), (3, 2)])
def test_completing_a_seen_bigram_is_its_definition(vocabulary, length):
    generator = torch.Generator().manual_seed(vocabulary)
    tokens = torch.randint(0, vocabulary, (40, length), generator=generator)
    tokens[:, 0] = 0
    assert completes_seen_bigram(tokens).tolist() == [slow_completion(example) for example in tokens.tolist()]


def test_copyable_tokens_of_a_known_sequence():
    #                       0  a  b  c  a  b  a  a  a
    tokens = torch.tensor([[0, 1, 2, 3, 1, 2, 1, 1, 1]])
    assert completes_seen_bigram(tokens).long().tolist() == [[0, 0, 0, 0, 0, 1, 0, 0, 1]]


def test_the_start_token_is_no_predecessor():
    tokens = torch.tensor([[0, 1, 0, 1, 0, 1]])
    assert completes_seen_bigram(tokens).long().tolist() == [[0, 0, 0, 0, 1, 1]]
