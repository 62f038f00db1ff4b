"""Vectors of exemplars: made, or read from a user's file that is checked before anything is trained on it."""

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reinduce.config.task_definition import read_task
from reinduce.studies.singh2024.tasks.fewshot_classification import SETS, FewshotSpec
from reinduce.studies.singh2024.vectors import draw_vectors
from reinduce.tasks.evaluation_sets import read_set

EVALUATION = {"sequences": 40, "held_out": 30}


def read_vectors(folder):
    return read_task(folder / "task.json").read_vectors(folder)


def prepared(prepare, spec, out="data"):
    # The shared sizes of language's frozen sets are no part of this task.
    return prepare(
        "singh2024.fewshot_classification",
        spec,
        dict.fromkeys(("heldout_examples", "repeat_length", "repeats")) | EVALUATION,
        out,
    )


@pytest.fixture
def file(tmp_path):
    """A Parquet file of features: classes, exemplars, width, and what spoils it."""

    def write(classes=9, exemplars=2, width=6, spoil=None, **renamed):
        rows = [
            {"class": f"c{c:02d}", "exemplar": e, "features": [c + e / 10 + i for i in range(width)]}
            for c in range(classes)
            for e in range(exemplars)
        ]
        if spoil:
            spoil(rows)
        table = pa.Table.from_pylist(rows).rename_columns(
            [renamed.get(n, n) for n in ("class", "exemplar", "features")]
        )
        pq.write_table(table, tmp_path / "features.parquet")
        return str(tmp_path / "features.parquet")

    return write


def test_made_vectors_are_like_deep_features_and_classes_keep_together():
    vectors = draw_vectors(FewshotSpec(classes=20, new_classes=10, exemplars=3))
    assert vectors.shape == (30, 3, 512) and vectors.min() == 0
    assert vectors.square().mean().item() == pytest.approx(1, abs=1e-4)
    assert torch.equal(vectors, draw_vectors(FewshotSpec(classes=20, new_classes=10, exemplars=3)))
    within = (vectors[:, 0] - vectors[:, 1]).norm(dim=1).mean()
    between = (vectors[:-1, 0] - vectors[1:, 0]).norm(dim=1).mean()
    assert within < 0.6 * between
    alone = draw_vectors(FewshotSpec(classes=20, new_classes=10, exemplars=3, spread=0.0))
    assert torch.equal(alone[:, 0], alone[:, 2])


def test_frozen_sets_and_vectors_are_written(prepare):
    made, folder = prepared(prepare, {"classes": 6, "new_classes": 4, "features": 16})
    assert [path.name for path in made.outputs] == [*(f"{kind}.parquet" for kind in SETS), "features.safetensors"]
    assert read_vectors(folder).shape == (10, 16)
    for kind in SETS:
        assert read_set(folder, kind).tokens.shape == (40 if kind == "in_distribution" else 30, 6)


def test_held_out_labels_stand_in_the_manifest(prepare):
    made, folder = prepared(prepare, {"classes": 6, "new_classes": 4, "features": 16})
    labels = read_set(folder, "relabelled").tokens[:, [1, 3]]
    assert sorted(made.details["held_out_labels"]) == labels.sort(dim=1).values.unique(dim=0).tolist()
    assert made.modules == ["reinduce.studies.singh2024.tasks.fewshot_classification"]


def test_a_users_features_are_read_in_order(prepare, file):
    spec = {"classes": 5, "new_classes": 3, "exemplars": 2, "features": 6, "source": "file"}
    _, folder = prepared(prepare, spec | {"path": file(spoil=lambda rows: rows.reverse())})
    found = read_vectors(folder)
    assert found.shape == (16, 6)
    assert found[:4, 0].tolist() == pytest.approx([0.0, 0.1, 1.0, 1.1])


def nan(rows):
    rows[5]["features"][2] = float("nan")


def short(rows):
    rows[3]["features"] = [1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"classes": 7},
            r"7 classes found, 8 expected \(5 for training and 3 new ones\); lower classes or new_classes",
        ),
        ({"exemplars": 1}, "class 'c00' has 1 exemplars, 2 expected"),
        ({"width": 5}, "class 'c00': a vector of width 5 found, 6 expected; set features"),
        ({"spoil": short}, "class 'c01': a vector of width 1 found, 6 expected"),
        ({"spoil": nan}, "1 vectors are not finite, the first is exemplar 1 of class 'c02'; expected finite numbers"),
        ({"features": "vectors"}, "no column features; there are: class, exemplar, vectors; expected a row for every"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_was_found_and_expected(prepare, file, given, message):
    spec = {"classes": 5, "new_classes": 3, "exemplars": 2, "features": 6, "source": "file", "path": file(**given)}
    with pytest.raises(ValueError, match=message):
        prepared(prepare, spec)


@pytest.fixture
def hdf5(tmp_path):
    """An HDF5 file of features: its datasets."""

    def write(**datasets):
        with h5py.File(tmp_path / "features.h5", "w") as file:
            for name, values in datasets.items():
                file[name] = values
        return str(tmp_path / "features.h5")

    return write


def vectors(*shape):
    return np.arange(np.prod(shape), dtype="float64").reshape(shape)


def test_features_of_hdf5_are_read_in_order(prepare, hdf5):
    """As the paper's own file has them: [classes, exemplars, features]."""
    spec = {"classes": 5, "new_classes": 3, "exemplars": 2, "features": 6, "source": "file"}
    _, folder = prepared(prepare, spec | {"path": hdf5(omniglot=vectors(9, 3, 6))})
    expected = torch.from_numpy(vectors(9, 3, 6)[:8, :2].reshape(16, 6)).float()
    assert torch.equal(read_vectors(folder), expected)


def spoilt(at, value):
    made = vectors(9, 2, 6)
    made[at] = value
    return made


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"x": vectors(7, 2, 6)}, r"7 classes found, 8 expected \(5 for training and 3 new ones\)"),
        (
            {"x": vectors(9, 12)},
            r"dataset 'x' has shape \(9, 12\); expected \[classes, 2 or more exemplars, 6 features\]",
        ),
        ({"x": vectors(9, 2, 5)}, r"dataset 'x' has shape \(9, 2, 5\); expected .* set features or exemplars"),
        ({"x": vectors(9, 1, 6)}, r"dataset 'x' has shape \(9, 1, 6\); expected \[classes, 2 or more exemplars"),
        ({"x": spoilt((4, 1, 2), np.nan)}, "1 vectors are not finite, the first is exemplar 1 of class 4; expected"),
        ({"x": spoilt((0, 0, 0), np.inf)}, "1 vectors are not finite, the first is exemplar 0 of class 0"),
        ({"x": vectors(9, 2, 6), "y": vectors(3)}, r"2 datasets found \(x, y\), expected one \[classes"),
        ({}, "0 datasets found"),
    ],
)
def test_an_hdf5_file_that_does_not_fit_is_refused(prepare, hdf5, datasets, message):
    spec = {"classes": 5, "new_classes": 3, "exemplars": 2, "features": 6, "source": "file", "path": hdf5(**datasets)}
    with pytest.raises(ValueError, match=message):
        prepared(prepare, spec)


def test_what_is_no_hdf5_is_named(prepare, tmp_path):
    (tmp_path / "features.h5").write_text("no")
    with pytest.raises(ValueError, match="features.h5: not an HDF5 file"):
        prepared(prepare, {"source": "file", "path": str(tmp_path / "features.h5")})


def test_a_file_that_is_not_there_is_named(prepare):
    with pytest.raises(FileNotFoundError, match="nowhere.parquet: no such file; set path to an HDF5 or Parquet file"):
        prepared(prepare, {"source": "file", "path": "nowhere.parquet"})
