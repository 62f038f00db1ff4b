"""Which edits make which results stale, and files that are complete or absent."""

import pytest
from reinduce.task import TASKS

from reinduce.trace.files import atomic_write, write_text
from reinduce.trace.sources import PACKAGE, _imports, digest, transitive_sources


def names(module):
    return {path.relative_to(PACKAGE).as_posix() for path in transitive_sources(module)}


def test_an_edit_to_plots_touches_the_report_alone():
    users = [
        s
        for s in ("data", "train", "score", "ablate", "attribute", "judge")
        if "report/plots.py" in names(f"reinduce.{s}")
    ]
    assert users == []
    assert "report/plots.py" in names("reinduce.report")


def test_an_edit_to_a_measure_touches_no_training():
    assert "score/heads.py" in names("reinduce.score.command")
    assert "score/heads.py" not in names("reinduce.train")


def test_an_edit_to_the_model_touches_all_that_runs_it():
    for stage in ("train", "score", "ablate", "attribute"):
        assert "model/transformer.py" in names(f"reinduce.{stage}")
    assert "model/transformer.py" not in names("reinduce.judge")


def test_imports_are_found_wherever_they_stand(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import a\n"
        "try:\n    import b\nexcept ImportError:\n    import c\nelse:\n    import d\nfinally:\n    import e\n"
        "class C:\n    async def f(self):\n        with self:\n            import f.g\n"
        "match a:\n    case 1:\n        from h import i\n"
        "while a:\n    if b:\n        pass\n    else:\n        import j\n"
    )
    assert sorted(_imports(path)) == ["a", "b", "c", "d", "e", "f.g", "h", "j"]


def test_an_import_within_a_function_is_a_source():
    assert {"task/exemplars.py", "model/tensors.py"} <= names("reinduce.task.specs")


def test_every_task_is_a_source_of_what_trains_on_one():
    """Streams are imported by a computed name, which cannot be followed: the whole package counts."""
    for stage in ("data", "train", "score"):
        assert {f"task/{name}.py" for name in TASKS} <= names(f"reinduce.{stage}")


def test_an_edit_to_trace_makes_no_result_stale():
    assert not any(name.startswith("trace/") for name in names("reinduce.train"))


def test_digests_are_stable_and_differ_between_stages():
    assert digest("reinduce.train") == digest("reinduce.train") != digest("reinduce.score")


def test_a_failed_write_leaves_the_previous_version(tmp_path):
    path = write_text(tmp_path / "f", "old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_equal_text_is_not_written_again(tmp_path):
    path = write_text(tmp_path / "f", "same")
    before = path.stat().st_mtime_ns
    write_text(path, "same")
    assert path.stat().st_mtime_ns == before
