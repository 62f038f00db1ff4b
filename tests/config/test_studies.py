"""A study is one folder, wherever it lies: its own code, tasks, clamps and metrics are found from study.yaml."""

import json
from pathlib import Path

import pytest
import yaml

from reinduce import studies
from reinduce.cluster.resolve import resolve
from reinduce.config.arm_contents import metrics_of_arm
from reinduce.config.load import load
from reinduce.config.resolved import write_resolved
from reinduce.config.validate import ConfigError

from .conftest import KEY

TASK = """
    from dataclasses import dataclass

    from reinduce.config.declare import task
    from reinduce.tasks.repeated_phrases import PhrasesSpec, RepeatedPhrases


    @dataclass(frozen=True, kw_only=True)
    class EchoSpec(PhrasesSpec):
        echo: int = 2

    @task("echoes")
    class Echoes(RepeatedPhrases):
        Spec = EchoSpec
        stream_name = "echoes"
"""
METRIC = """
    from reinduce.config.declare import metric
    from reinduce.metrics.tolerances import NATS

    @metric(level="model", unit="nats", null="0", evaluation_set="heldout", sites=("losses",), tolerance=NATS)
    def spread(inputs):
        '''How far losses lie apart.'''
        return inputs.losses.std().item()
"""
CLAMP = """
    from dataclasses import dataclass

    from reinduce.config.declare import intervention
    from reinduce.model.clamps import ZeroHead

    @intervention("mute")
    @dataclass(frozen=True, kw_only=True)
    class Mute(ZeroHead):
        '''The outputs of heads are zero.'''
"""
SMALL = {"vocab_size": 65, "n_ctx": 64}
STUDY = {
    "title": "A planted paper",
    "authors": "Nobody",
    "year": 1999,
    "url": "nowhere",
    "arms": {
        "plain": {"task": "echoes", "why": "As it is.", "model": {"n_layers": 2}},
        "muted": {
            "task": "echoes",
            "why": "Without a head.",
            "metrics": ["spread", "induction_onset_step"],
            "model": {"n_layers": 2, "clamps": [{"type": "mute", "layer": 1, "head": 0}]},
        },
        "phrases": {"task": "repeated_phrases", "why": "On a task of the library.", "model": {"n_layers": 1}},
    },
    "scales": {
        "smoke": {
            "tasks": {
                "echoes": {
                    "spec": SMALL,
                    "evaluation": {
                        "heldout_examples": 32,
                        "repeated_examples": 4,
                        "random_examples": 4,
                        "repeat_length": 12,
                        "repeats": 4,
                    },
                    "seeds": 2,
                    "model": {"d_model": 16, "n_heads": 2},
                    "train": {"steps": 30, "batch_size": 8, "learning_rate": 6e-3, "checkpoints": {"every": {0: 10}}},
                },
                "repeated_phrases": {
                    "seeds": 1,
                    "model": {"d_model": 16, "n_heads": 2},
                    "train": {"steps": 30, "batch_size": 8, "learning_rate": 6e-3, "checkpoints": {"every": {0: 10}}},
                },
            }
        }
    },
}
CLI_OVERRIDES = {"scale": "smoke", "studies": [KEY], "study_folders": ["papers"]}


@pytest.fixture
def paper(project, study):
    """Write the planted paper beside the project's own studies, with changes to its study.yaml; returns its folder."""

    def write(change=None, **modules: str) -> Path:
        folder = study(**({"tasks__echoes": TASK, "metrics": METRIC, "interventions": CLAMP} | modules))
        content = json.loads(json.dumps(STUDY))
        if change is not None:
            change(content)
        (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return folder

    return write


def problems(project, **changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(CLI_OVERRIDES | changes, project)
    return caught.value.problems


def test_a_study_outside_of_the_projects_own_is_found_with_all_that_it_declares(project, paper):
    paper()
    resolved = load(CLI_OVERRIDES, project)
    assert resolved.folders == {KEY: f"papers/{KEY}"}
    assert list(resolved.runs) == [f"{KEY}/plain", f"{KEY}/muted", f"{KEY}/phrases"]
    plain, muted, phrases = resolved.runs.values()
    assert (plain.arm.task, plain.arm.task_name) == (f"{KEY}.echoes", "echoes")
    assert (plain.task.qualified_name(), plain.task.spec.echo, plain.task.spec.vocab_size) == (f"{KEY}.echoes", 2, 65)
    assert plain.arm.model.vocab_size == 65 and list(plain.seeds) == [0, 1]
    clamp = {"type": f"{KEY}.mute", "layer": 1, "head": 0, "except_head": None}
    assert muted.arm.model.clamps == [clamp], "every field, and the type by its whole name"
    assert phrases.arm.task == "repeated_phrases" and phrases.task.owner == ""
    assert set(resolved.tasks) == {f"{KEY}.echoes", "repeated_phrases"}


def test_an_arm_may_choose_its_metrics(project, paper):
    paper()
    resolved = load(CLI_OVERRIDES, project)
    plain, muted = (resolved.runs[f"{KEY}/{arm}"] for arm in ("plain", "muted"))
    assert plain.settings.metrics is None
    assert {"spread", "loss", "copying"} <= set(metrics_of_arm(plain.arm, plain.task, plain.settings))
    assert muted.settings.metrics == ["spread", "induction_onset_step"]
    found = list(metrics_of_arm(muted.arm, muted.task, muted.settings))
    assert found == ["spread", "prefix_matching", "induction_onset_step"]
    write_resolved(resolved, CLI_OVERRIDES, project)
    settings = [json.loads((project / resolved.results / name / "metrics.json").read_text()) for name in resolved.runs]
    assert [one["metrics"] for one in settings] == [None, ["spread", "induction_onset_step"], None]
    assert all({**one, "metrics": None} == settings[0] for one in settings)


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        (
            'sites=("losses",)',
            'sites=("loses", "blocks.0.attn.v")',
            r"metric 'spread': sites: no 'loses'; there are: .*v, ",
        ),
        (
            '"heldout"',
            '"held-out"',
            "no task of the study's arms has the evaluation sets held-out: planted1999.echoes has",
        ),
        ('level="model"', 'level="models"', "metric 'spread': no level 'models'; there are: head, layer, model, run"),
        ("heldout", "heldout", None),
    ],
)
def test_a_metric_that_could_never_be_measured_is_refused_before_any_job(project, paper, right, wrong, complaint):
    def choose_no_metrics(content):
        del content["arms"]["muted"]["metrics"]

    paper(choose_no_metrics, metrics=METRIC.replace(right, wrong))
    if complaint is None:
        assert resolve(CLI_OVERRIDES, project).runs
        return
    with pytest.raises(ConfigError, match=f"study {KEY}: .*{complaint}"):
        resolve(CLI_OVERRIDES, project)


def test_a_metric_that_is_not_there_or_that_the_arm_cannot_have_is_told(project, paper):
    def change(content):
        content["arms"]["muted"]["metrics"] = ["sprad"]
        content["arms"]["phrases"]["metrics"] = ["prefix_matching", "loss"]
        content["arms"]["phrases"]["model"]["mixer"] = "gru"

    paper(change)
    found = problems(project)
    where = f"papers/{KEY}/study.yaml: arms"
    assert len(found) == 2
    assert found[0].startswith(f"{where}.muted: no metric 'sprad'; there are: ") and "spread" in found[0]
    needs = "it needs the evaluation sets repeated, random and attention heads"
    assert found[1] == f"{where}.phrases: metric 'prefix_matching' cannot be measured here: {needs}"


def test_unknown_tasks_and_clamps_are_told_with_those_that_there_are(project, paper):
    def change(content):
        content["arms"]["plain"]["task"] = "echos"
        content["arms"]["muted"]["model"]["clamps"] = [{"type": "mutter", "layer": 1}]
        content["arms"]["phrases"]["model"]["clamps"] = [{"type": "mute", "layer": 1}, {"type": "mute", "laier": 0}]

    paper(change)
    text = "\n".join(problems(project))
    assert (
        f"papers/{KEY}/study.yaml: arms.plain.task: no task 'echos'; there are: repeated_phrases, source_text, ech"
        in text
    )
    assert f"{KEY}/muted: model: clamps.0: type must be one of block_k_composition, " in text
    assert "freeze_activation, mute, not 'mutter'" in text
    assert (
        f"{KEY}/phrases: model: clamps.1: laier: unknown key; expected except_head, head, layer; did you mean" in text
    )
    assert f"{KEY}/phrases: model: clamps.1: layer: missing" in text


def test_a_clamp_of_another_study_is_not_found(project, paper):
    def change(content):
        content["arms"]["muted"]["model"]["clamps"] = [{"type": "force_match", "layer": 1}]

    paper(change)
    [problem] = problems(project)
    assert "type must be one of" in problem and "not 'force_match'" in problem


@pytest.mark.parametrize(
    ("module", "source", "line"),
    [
        ("metrics", "x = (\n", "metrics.py, line 1: SyntaxError"),
        ("tasks__echoes", "\n\nx = y\n", "tasks/echoes.py, line 3: NameError: name 'y' is not defined"),
        ("interventions", "x = 1\nx.y\n", "interventions.py, line 2: AttributeError"),
        ("metrics", "one = 1\nint('one')\n", "metrics.py, line 2: ValueError: invalid literal"),
    ],
)
def test_code_that_cannot_be_imported_is_told_as_a_line_with_the_rest(project, paper, module, source, line):
    folder = paper(**{module: source})
    found = problems(project, nonsense=1)
    assert sum("nonsense" in problem for problem in found) == 1
    [told] = [problem for problem in found if problem.startswith(f"study {KEY}: ")]
    assert told.startswith(f"study {KEY}: {folder}/{line}") and told.endswith("correct the study's code")
    assert not any("\n" in problem for problem in found)


def test_a_name_that_the_library_has_is_told(project, paper):
    paper(metrics=METRIC.replace("spread", "loss"))
    found = problems(project)
    assert (
        f"study {KEY}: reinduce.studies.{KEY}.metrics: the library already has a metric 'loss'; give yours" in found[0]
    )


def test_a_folder_of_studies_that_is_missing_is_told(project, paper):
    paper()
    found = problems(project, study_folders=["papers", "more/papers"])
    assert found == ["config.yaml: study_folders: there is no folder 'more/papers'; give one that exists"]


def test_a_study_that_lies_in_two_folders_is_told(project, paper):
    folder = paper()
    other = project / "workflow" / "studies" / KEY
    other.mkdir()
    (other / "study.yaml").write_text((folder / "study.yaml").read_text())
    told = f"config.yaml: studies: '{KEY}' lies in workflow/studies/{KEY} and papers/{KEY}; rename one"
    assert told in problems(project)


def test_a_folder_of_studies_may_lie_anywhere(project, paper, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "papers"
    (paper().parent).rename(elsewhere)
    resolved = load(CLI_OVERRIDES | {"study_folders": [str(elsewhere)]}, project)
    assert resolved.folders == {KEY: f"{elsewhere.as_posix()}/{KEY}"}
    assert str(elsewhere) in studies.__path__


def test_without_its_folder_a_study_is_not_found(project, paper):
    paper()
    found = problems(project, study_folders=[])
    assert f"config.yaml: studies: no '{KEY}'; there are: olsson2022, review2026, singh2024" in found[0]


def test_a_studys_own_task_may_be_changed_in_config_yaml(project, paper):
    paper()
    resolved = load(CLI_OVERRIDES | {"tasks": {f"{KEY}.echoes": {"echo": 5, "phrases": 3}}}, project)
    assert (resolved.tasks[f"{KEY}.echoes"].spec.echo, resolved.tasks[f"{KEY}.echoes"].spec.phrases) == (5, 3)
    [problem] = problems(project, tasks={f"{KEY}.echoes": {"echo": "two"}})
    assert f"task {KEY}.echoes: echo: " in problem and f"config.yaml tasks.{KEY}.echoes" in problem
    assert "no 'echoes'; there are: " in problems(project, tasks={"echoes": {"echo": 5}})[0]
