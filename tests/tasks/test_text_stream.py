"""The source_text task reads every window once an epoch, in an order of each replicate's own."""

from array import array

import pytest
import torch

from reinduce.tasks.source_text import SourceTextSpec, WindowStream

SPEC = SourceTextSpec(vocab_size=1000, n_ctx=11)
WINDOWS = 23


@pytest.fixture
def folder(tmp_path):
    """Training text of 23 windows of ten tokens and a rest: token t stands at place t - 1."""
    with open(tmp_path / "train.bin", "wb") as file:
        array("H", range(1, 10 * WINDOWS + 5)).tofile(file)
    return tmp_path


def starts(batch):
    """The number of each sequence's window, after checking that it is one window and no other."""
    assert (batch[:, 0] == 0).all()
    first = batch[:, 1]
    assert torch.equal(batch[:, 1:], first[:, None] + torch.arange(batch.shape[1] - 1))
    assert ((first - 1) % 10 == 0).all()
    return ((first - 1) // 10).tolist()


def read(folder, seed, steps, n):
    stream = WindowStream(SPEC, folder, seed)
    return [starts(stream.batch(step, n)) for step in steps]


def test_batches_are_int64_windows_after_a_start_token(folder):
    batch = WindowStream(SPEC, folder, 0).batch(0, 4)
    assert batch.shape == (4, 11) and batch.dtype == torch.int64
    assert len(starts(batch)) == 4


@pytest.mark.parametrize("n", [1, 5, 23])
def test_an_epoch_holds_every_window_once_in_an_order_of_its_own(folder, n):
    drawn = sum(read(folder, 0, range(3 * WINDOWS), n), [])
    epochs = [drawn[e * WINDOWS : (e + 1) * WINDOWS] for e in range(3)]
    assert all(sorted(epoch) == list(range(WINDOWS)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != sorted(epochs[0])


def test_batches_do_not_depend_on_what_was_asked_before(folder):
    forward = read(folder, 4, range(20), 5)
    backward = read(folder, 4, reversed(range(20)), 5)[::-1]
    assert forward == backward
    assert read(folder, 4, [13], 5) == [forward[13]]


def test_replicates_read_in_different_orders(folder):
    assert read(folder, 0, range(4), 5) != read(folder, 1, range(4), 5)


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path):
    spec = SourceTextSpec(vocab_size=70_000, n_ctx=11)
    with open(tmp_path / "train.bin", "wb") as file:
        array("i", range(66_000, 66_040)).tofile(file)
    batch = WindowStream(spec, tmp_path, 0).batch(0, 4)
    assert sorted(batch[:, 1].tolist()) == [66_000, 66_010, 66_020, 66_030]


def test_too_little_text_for_a_batch_is_said(folder):
    with pytest.raises(ValueError, match="has 23 windows, fewer than a batch of 24; give more text, or lower batch"):
        WindowStream(SPEC, folder, 0).batch(0, 24)


def test_missing_training_text_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="train.bin: no training text; `reinduce data` makes it"):
        WindowStream(SPEC, tmp_path, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 256}, "vocab_size must be 257 or more"),
        ({"source": "web"}, "source must be one of packages, folder, parquet, not 'web'"),
        ({"packages": ()}, "packages needs at least one name"),
        ({"source": "folder"}, "path must say where the folder is"),
        ({"heldout_share": 1}, "heldout_share must lie between 0 and 1"),
        ({"excluded_share": 0.5}, "excluded_share must be 0 or more and below 0.5"),
        ({"glob": "/etc/*"}, "glob must be a pattern below the folder"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        SourceTextSpec(**({"n_ctx": 128} | change))
