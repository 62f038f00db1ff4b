"""The repeated_phrases task draws what its specification says, and never the same document twice."""

import pytest
import torch

from reinduce.tasks import repeated_phrases as phrases
from reinduce.tasks.repeated_phrases import PhrasesSpec, PhraseStream

SPEC = PhrasesSpec(vocab_size=128, n_ctx=128)
# Segments of four tokens each: where one begins is known.
ALIGNED = PhrasesSpec(vocab_size=128, n_ctx=1 + 4 * 30, phrase_length=(4, 4), run_length=(4, 4))


def segments(spec, n=400, seed=5):
    """Segments of aligned documents [n, 30, 4], and whether each is a run of the table [n, 30]."""
    table = phrases.successor_table(spec)
    parts = phrases.documents(spec, table, n, seed)[:, 1:].view(n, 30, 4)
    follows = (table[parts[..., :-1]] == parts[..., 1:, None]).any(dim=-1)
    return parts, follows.all(dim=-1)


def test_documents_are_start_token_then_others():
    batch = PhraseStream(SPEC, 0).batch(7, 50)
    assert batch.shape == (50, 128) and batch.dtype == torch.int64
    assert (batch[:, 0] == 0).all()
    assert batch[:, 1:].min() >= 1 and batch[:, 1:].max() <= 127


def test_table_has_distinct_successors_and_never_the_start_token():
    table = phrases.successor_table(SPEC)
    assert table.shape == (128, 8)
    assert table.min() >= 1 and table.max() <= 127
    assert all(len(set(row)) == 8 for row in table.tolist())


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_segments_are_phrases_as_often_as_asked(share):
    spec = PhrasesSpec(**(vars(ALIGNED) | {"phrase_share": share}))
    _, is_run = segments(spec)
    # 12,000 segments: four standard errors are below 0.02.
    assert 1 - is_run.double().mean().item() == pytest.approx(share, abs=0.02)


def test_runs_choose_every_successor_equally_often():
    spec = PhrasesSpec(**(vars(ALIGNED) | {"phrase_share": 0.0}))
    parts, _ = segments(spec)
    table = phrases.successor_table(spec)
    chosen = (table[parts[..., :-1]] == parts[..., 1:, None]).double().mean(dim=(0, 1, 2))
    assert torch.allclose(chosen, torch.full((8,), 1 / 8, dtype=torch.float64), atol=0.01)


def test_phrases_are_a_documents_own_and_few():
    parts, is_run = segments(ALIGNED)
    found = [
        {tuple(p) for p, run in zip(doc, runs, strict=True) if not run}
        for doc, runs in zip(parts.tolist(), is_run.tolist(), strict=True)
    ]
    assert max(len(own) for own in found) == 6
    assert not any(found[0] & other for other in found[1:])


def test_phrase_lengths_cover_their_range():
    spec = PhrasesSpec(vocab_size=128, n_ctx=128, phrases=1, phrase_share=1.0, phrase_length=(3, 6))
    documents = phrases.documents(spec, phrases.successor_table(spec), 60, 1)[:, 1:]
    # A document of one phrase repeats it: its period is the phrase's length.
    periods = [next(p for p in range(1, 20) if torch.equal(doc[p:], doc[:-p])) for doc in documents]
    assert set(periods) == {3, 4, 5, 6}


def test_annotated_documents_are_the_plain_ones():
    spec = PhrasesSpec(vocab_size=128, n_ctx=128)
    table = phrases.successor_table(spec)
    made = phrases.annotated(spec, table, 20, 9)
    assert torch.equal(made.tokens, phrases.documents(spec, table, 20, 9))
    assert torch.equal(made.tokens, phrases.documents(spec, table.expand(20, -1, -1), 20, 9))
    assert made.offset.max() <= 5 and made.offset[:, :2].max() == 0


def test_batches_do_not_depend_on_what_was_asked_before():
    one, other = PhraseStream(SPEC, 3), PhraseStream(SPEC, 3)
    forward = [one.batch(step, 8) for step in range(5)]
    backward = [other.batch(step, 8) for step in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert torch.equal(one.batch(2, 8), forward[2])


def test_no_document_comes_twice():
    documents = torch.cat([PhraseStream(SPEC, k).batch(step, 32) for k in (0, 1) for step in range(400)])
    assert len({tuple(document) for document in documents.tolist()}) == 2 * 400 * 32


def test_steps_differ_in_the_bits_of_their_seed_that_torch_keeps():
    """torch's CPU generator reads 32 bits of a seed: the reason why seeds count up from a replicate's own."""
    same = [torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in (17, 17 + (1 << 32))]
    assert torch.equal(*same)
    first = PhraseStream(SPEC, 0).first
    assert len({(first + step) % (1 << 32) for step in range(100_000)}) == 100_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phrase_share": 1.2}, "phrase_share must lie between 0 and 1, not 1.2"),
        ({"successors": 128}, "successors must lie between 1 and vocab_size - 1, not 128"),
        ({"phrase_length": (4, 3)}, "phrase_length must be a range from 1 on, not 4 to 3"),
        ({"phrases": 0}, "phrases must be positive, not 0"),
        ({"n_ctx": 1}, "n_ctx must be 2 or more, not 1"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PhrasesSpec(**({"vocab_size": 128, "n_ctx": 128} | change))
