"""Which edits make which results stale, and files that are complete or absent."""

import pytest

from reinduce.config.declare import qualify
from reinduce.config.find import find, find_all
from reinduce.trace.files import atomic_write, write_text
from reinduce.trace.sources import _imports, _name_of, digest, transitive_sources

STUDIES = ("olsson2022", "review2026", "singh2024")


def names(*modules):
    return {_name_of(path) for path in transitive_sources(*modules)}


def test_an_edit_to_plots_touches_the_report_alone():
    users = [
        s
        for s in ("data", "train", "score", "ablate", "attribute", "judge")
        if "report/plots.py" in names(f"reinduce.{s}")
    ]
    assert users == []
    assert "report/plots.py" in names("reinduce.report")


def test_an_edit_to_a_metric_touches_no_training():
    """Metrics are found by name: whoever measures one names its module."""
    module = find("metric", "prefix_matching").module
    assert "metrics/heads.py" in names("reinduce.score.command", module)
    assert "metrics/heads.py" not in names("reinduce.score.command")
    assert "metrics/heads.py" not in names("reinduce.train")
    # What the stage itself computes with needs no naming.
    assert {"metrics/losses.py", "metrics/training.py"} <= names("reinduce.score.command")


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
    found = names("reinduce.studies.singh2024.tasks.fewshot_classification")
    assert {"studies/singh2024/vectors.py", "model/tensors.py"} <= found


def test_a_task_is_a_source_of_what_trains_on_it_and_of_nothing_else():
    """Tasks are found by name, which cannot be followed: whoever trains on one names its module."""
    tasks = [task for study in ("", *STUDIES) for task in find_all("task", study).values()]
    modules = {qualify(task.name, task.owner): task.module for task in tasks}
    assert len(modules) == 6
    for stage in ("data", "train", "score"):
        plain = names(f"reinduce.{stage}")
        for name, module in modules.items():
            file = module.removeprefix("reinduce.").replace(".", "/") + ".py"
            assert file in names(f"reinduce.{stage}", module), name
            assert file not in plain, name


def test_a_studys_module_brings_what_it_imports_of_its_study_and_of_the_library():
    found = names("reinduce.studies.singh2024.metrics")
    own = {"metrics", "answers", "interventions", "tasks/fewshot_classification"}
    assert {f"studies/singh2024/{name}.py" for name in own} <= found
    assert {"metrics/inputs.py", "model/clamps.py", "config/declare.py"} <= found
    assert {name.split("/")[1] for name in found if name.startswith("studies/")} == {"singh2024"}
    assert not any("/figures/" in name or "/tests/" in name for name in found)


def test_a_module_of_no_study_is_nobodys_source():
    assert names("reinduce.studies.singh2024.nothing") == names("reinduce.studies.nobody1999.metrics") == set()


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
