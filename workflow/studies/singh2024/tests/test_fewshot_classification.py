"""The fewshot_classification task: the answer stands in the context, and what is held out stays held out."""

import pytest
import torch

from reinduce.model.tensors import save_tensors
from reinduce.studies.singh2024.tasks import fewshot_classification as fewshot
from reinduce.studies.singh2024.tasks.fewshot_classification import (
    VECTORS_FILE,
    FewshotClassification,
    FewshotSizes,
    FewshotSpec,
    FewshotStream,
)

SPEC = FewshotSpec(classes=12, new_classes=7, exemplars=3)


def classes_of(tokens):
    return (tokens[:, [0, 2, 4]] - SPEC.vocab_size) // SPEC.exemplars


@pytest.mark.parametrize("kind", fewshot.SETS)
def test_the_answer_is_the_label_of_the_querys_class(kind):
    tokens = fewshot.sequences(SPEC, kind, 500, 3)
    assert tokens.shape == (500, 6) and tokens.dtype == torch.int64
    first, second, asked = classes_of(tokens).unbind(dim=1)
    assert (first != second).all() and ((asked == first) ^ (asked == second)).all()
    assert torch.equal(tokens[:, 5], torch.where(asked == first, tokens[:, 1], tokens[:, 3]))
    assert (tokens[:, 1] != tokens[:, 3]).all() and tokens[:, [1, 3, 5]].max() < SPEC.vocab_size
    right = fewshot.right_label(tokens[:, :5], SPEC.vocab_size, SPEC.exemplars)
    assert torch.equal(tokens.gather(1, right[:, None])[:, 0], tokens[:, 5])
    assert 0.4 < (right == 1).double().mean() < 0.6


def test_classes_and_pairs_of_labels_are_held_out():
    seen = {kind: fewshot.sequences(SPEC, kind, 2000, 3) for kind in fewshot.SETS}
    labels = {k: {tuple(sorted(p)) for p in t[:, [1, 3]].tolist()} for k, t in seen.items()}
    assert not labels["in_distribution"] & labels["relabelled"] and labels["novel_classes"] <= labels["in_distribution"]
    assert len(labels["in_distribution"]) == 8 and len(labels["relabelled"]) == 2
    classes = {k: set(classes_of(t).flatten().tolist()) for k, t in seen.items()}
    assert classes["in_distribution"] == classes["relabelled"] == set(range(12))
    assert classes["novel_classes"] == set(range(12, 19))
    shown = set(fewshot.label_pairs(SPEC)[0].flatten().tolist())
    assert shown == set(range(SPEC.vocab_size)), "every label is trained"


def test_every_training_sequence_is_counted_once():
    spec = FewshotSpec()
    every = fewshot.every_sequence(spec)
    assert len(every) == 78_400, "as many as the paper has"
    assert len(every.unique(dim=0)) == len(every)
    rows = {tuple(row) for row in every.tolist()}
    assert all(tuple(row) in rows for row in fewshot.sequences(spec, "in_distribution", 300, 5).tolist())


def test_batches_do_not_depend_on_what_was_asked_before(tmp_path):
    vectors = torch.rand(57, SPEC.features)
    save_tensors(tmp_path / VECTORS_FILE, {"features": vectors}, {})
    task = FewshotClassification(SPEC, FewshotSizes(sequences=4, held_out=4))
    one, other, another = (task.training_stream(tmp_path, seed) for seed in (3, 3, 4))
    one.batch(0, 8)
    for step in (2, 63, 64, 200, 1):
        assert torch.equal(one.batch(step, 8), FewshotStream(SPEC, vectors, 3).batch(step, 8))
    assert torch.equal(one.batch(1, 8), other.batch(1, 8)) and one.batch(1, 5).shape == (5, 6)
    assert not torch.equal(one.batch(2, 8), another.batch(2, 8))
    assert len(torch.cat([one.batch(step, 8) for step in range(128)]).unique(dim=0)) > 500, "steps differ"
    assert torch.equal(one.vectors, vectors[:36]), "of the classes that training shows alone"


@pytest.mark.parametrize("labels", [3, 4, 5, 10, 15])
def test_what_is_accepted_has_a_split_of_its_labels(labels):
    accepted = []
    for share in (0.1, 0.2, 0.4, 0.6, 0.8, 0.9):
        try:
            spec = FewshotSpec(vocab_size=labels, held_out_labels=share)
        except ValueError:
            continue
        shown, held_out = fewshot.label_pairs(spec)
        assert (len(shown) + len(held_out), len(held_out)) == (spec.pairs, spec.held_out_pairs)
        assert shown.unique().numel() == labels
        accepted.append(share)
    assert {0.1, 0.2} <= set(accepted) and (0.9 not in accepted or labels == 15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_ctx": 6}, "n_ctx must be 5, two pairs and a query, not 6"),
        ({"vocab_size": 2}, "vocab_size must be 3 labels or more"),
        ({"classes": 1}, "classes must be 2 or more, not 1"),
        ({"source": "web"}, "source must be one of latent, file"),
        ({"source": "file"}, "path belongs to source: file"),
        ({"path": "x.parquet"}, "path belongs to source: file"),
        ({"held_out_labels": 0.9}, "leaves a label that training never shows; lower it"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        FewshotSpec(**change)


def test_ones_own_files_are_those_that_the_vectors_are_read_from(tmp_path):
    sizes = FewshotSizes(sequences=4, held_out=4)
    # That a folder holds no vectors is said by who reads them.
    assert FewshotClassification(FewshotSpec(source="file", path=str(tmp_path)), sizes).user_files() == [tmp_path]
    assert FewshotClassification(FewshotSpec(), sizes).user_files() == []


def test_the_task_decides_what_a_model_reads():
    task = FewshotClassification(SPEC, FewshotSizes(sequences=4, held_out=3))
    assert task.model_fields() == {"vocab_size": 5, "n_ctx": 5, "d_features": 512, "vectors_per_class": 3}
    assert task.set_sizes() == {"in_distribution": 4, "relabelled": 3, "novel_classes": 3}


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="held_out must be positive, not 0"):
        FewshotSizes(sequences=4, held_out=0)
