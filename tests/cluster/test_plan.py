"""What rules read, write and run, for two small studies that are made up here."""

import dataclasses
import importlib.metadata
from pathlib import Path

import pytest

from reinduce.cli import JOB_SEPARATOR, build_parser
from reinduce.cluster.plan import Plan
from reinduce.cluster.stage_files import STAGE_SPECS
from reinduce.config.job_specs import ArmSpec, CheckpointSpec, GraftSpec, ModelSpec, TrainSpec
from reinduce.config.metric_settings import MetricSettings, PositionRanges
from reinduce.config.resolved import Resolved, Run
from reinduce.config.task_definition import build_task
from reinduce.config.user_config import Cluster, Config, Figure, Study
from reinduce.trace.files import write_text

SIZES = {"heldout_examples": 4, "repeat_length": 5}
LONG = 100_000
"""Steps of a training that is not short."""

TASKS = {
    "t": build_task({"task": "repeated_phrases", "spec": {"vocab_size": 50, "n_ctx": 64}, "evaluation": SIZES}),
    "other": build_task(
        {
            "task": "source_text",
            "spec": {"vocab_size": 300, "n_ctx": 64, "source": "packages", "packages": ["pytest", "no-such-package"]},
            "evaluation": SIZES,
        }
    ),
}
SETTINGS = MetricSettings(icl_position_ranges=[PositionRanges(early=(1, 1), late=(2, 2))], loss_slope_positions=(1, 2))


def make_run(study: str, arm: str, task: str = "t", seeds: int = 2, steps: int = 10, **arguments) -> Run:
    mixer = arguments.pop("mixer", "attention")
    model = ModelSpec(n_layers=1, d_model=16, n_heads=1, vocab_size=50, n_ctx=64, mixer=mixer)
    train = TrainSpec(steps=steps, batch_size=16, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: steps}))
    spec = ArmSpec(study=study, arm=arm, task=task, model=model, train=train, **arguments)
    return Run(spec, range(seeds), TASKS[task], SETTINGS)


@pytest.fixture
def plan(tmp_path) -> Plan:
    """A plan for short arms with and without attention, a grafted arm, and a long arm of another study."""
    runs = [
        make_run("paper", "a"),
        make_run("paper", "no-heads", task="other", mixer="gru"),
        make_run("paper", "grafted", graft=GraftSpec(arm="a", layer=0, seed_offset=1)),
        make_run("second", "long", steps=LONG),
    ]
    figure = {"title": "A figure", "category": "Training"}
    study = {"title": "", "authors": "", "year": 2000, "url": "", "scales": {}}
    arm = {"task": "t", "why": ""}
    resolved = Resolved(Config(scale="tiny", studies=["paper", "second"]), Path("out"), cluster=Cluster())
    resolved.runs = {f"{run.arm.study}/{run.arm.arm}": run for run in runs}
    resolved.tasks = dict(TASKS)
    resolved.folders = {study: (tmp_path / study).as_posix() for study in ("paper", "second")}
    for name in ("paper/figures/own.py", "second/figures/both.py"):
        write_text(tmp_path / name, "import reinduce.report.read\n")
    resolved.studies = {
        "paper": Study(arms={name: arm for name in ("a", "no-heads", "grafted")}, figures={"own": figure}, **study),
        "second": Study(
            arms={"long": arm},
            figures={"both": Figure(reads={"paper": ["a"], "second": ["long"]}, tables=["trajectories"], **figure)},
            **study,
        ),
    }
    return Plan(resolved)


def name_outputs(rule) -> list[str]:
    return [path.as_posix() for path in rule.outputs]


def test_a_stage_has_a_rule_for_each_job_group(plan):
    assert [rule.name for rule in plan.group_rules("train")] == [
        "train_paper_short1",
        "train_paper_grafted",
        "train_second_long",
    ]


def test_a_job_of_all_seeds_and_a_job_for_each_seed_differ_in_paths_and_labels(plan):
    short, _, long = plan.group_rules("score")
    assert (short.log, short.label) == ("out/logs/score/paper/short1.log", "paper/short1")
    assert (long.log, long.label) == ("out/logs/score/second/long/seed{seed}.log", "second/long/seed{wildcards.seed}")
    assert long.benchmark == "out/benchmarks/score/second/long/seed{seed}.tsv"
    assert name_outputs(long)[:2] == [
        f"out/second/long/seed{{seed}}/score/step{step:08d}.parquet" for step in (0, LONG)
    ]
    assert {path.split("/")[2] for path in name_outputs(short)} == {"a", "no-heads"}


def test_training_writes_checkpoints_and_its_tables(plan):
    [long] = [rule for rule in plan.group_rules("train") if rule.name == "train_second_long"]
    assert name_outputs(long) == [
        "out/second/long/seed{seed}/train/train_log.parquet",
        "out/second/long/seed{seed}/train/run.parquet",
        "out/second/long/seed{seed}/train/checkpoints/step00000000.safetensors",
        "out/second/long/seed{seed}/train/checkpoints/step00100000.safetensors",
    ]
    assert long.resources["processes"] == 1 and long.core_seconds > 25


@pytest.mark.parametrize("stage", ["ablate", "attribute"])
def test_arms_without_a_stages_table_are_left_out_of_it(plan, stage):
    rules = plan.group_rules(stage)
    assert [rule.name for rule in rules] == [f"{stage}_paper_short1", f"{stage}_paper_grafted", f"{stage}_second_long"]
    assert not any("no-heads" in path for path in name_outputs(rules[0]))


def test_what_a_stage_reads(plan):
    def read(stage: str) -> dict[str, list[str]]:
        inputs = plan.group_rules(stage)[0].inputs
        return {name: [str(file) for file in files] for name, files in inputs.items() if name != "sources"}

    assert set(read("train")) == {"specs", "data"}
    assert set(read("score")) == set(read("attribute")) == {"specs", "data", "checkpoints"}
    ablate = read("ablate")
    assert set(ablate) == {"specs", "data", "checkpoints", "scores", "windows"}
    assert ablate["specs"] == [f"out/paper/a/{name}.json" for name in ("train", "metrics", "ablate")]
    assert ablate["scores"] == [f"out/paper/a/seed{seed}/score/step00000010.parquet" for seed in (0, 1)]
    assert {path.split("/")[2] for path in read("score")["data"]} == {"t", "other"}


def test_a_grafted_arm_reads_the_checkpoint_of_another_seed(plan):
    _, grafted, _ = plan.group_rules("train")
    checkpoints = [f"out/paper/a/seed{seed}/train/checkpoints/step00000010.safetensors" for seed in (1, 0)]
    assert [path.as_posix() for path in grafted.inputs["grafts"]({})] == checkpoints
    assert [argument for argument in grafted.params["jobs"]({}) if argument in checkpoints] == checkpoints


@pytest.mark.parametrize("stage", STAGE_SPECS)
def test_commands_accept_the_arguments_of_their_jobs(plan, stage):
    for rule in plan.group_rules(stage):
        arguments = rule.params["jobs"]({"seed": "1"})
        jobs = " ".join(arguments).split(f" {JOB_SEPARATOR} ")
        parsed = [build_parser([stage]).parse_args([stage, *job.split()]) for job in jobs]
        assert len(parsed) == len({job.out for job in parsed})
        assert {job.out.name for job in parsed} == {stage}
        if rule.name.endswith("long"):
            assert [job.seed for job in parsed] == [1]


def test_the_shell_command_names_rule_wildcards_and_log_before_the_jobs(plan):
    command = plan.shell_command("score", "{params.jobs:q}")
    assert command == "reinduce score --rule {params.rule:q} {wildcards} --log {log:q} {params.jobs:q}"


def test_data_depend_on_the_versions_of_the_packages_that_they_are_made_from(plan):
    t, other = plan.data_rules()
    assert (t.name, t.label, t.inputs["task"]) == ("data_t", "t", "out/data/t/task.json")
    assert t.params["versions"] == {}
    assert other.params["versions"] == {name: importlib.metadata.version(name) for name in ("tokenizers", "pytest")}
    assert other.params["out"]({}, other.outputs) == "out/data/other"
    assert {path.parent.as_posix() for path in other.outputs} == {"out/data/other"}


def test_a_figure_reads_the_arms_that_it_names_or_else_all_of_its_study(plan, tmp_path):
    own, both = plan.figure_rules()
    assert (own.name, both.name) == ("figure_paper_own", "figure_second_both")
    tables = {path.as_posix() for path in own.inputs["tables"]}
    assert {path.split("/")[2] for path in tables if "/seed" in path and "seeds" not in path} == {
        "a",
        "no-heads",
        "grafted",
    }
    assert plan.figures == [("paper", "own"), ("second", "both")]
    options = both.params["options"]({}, both.outputs)
    assert options[:6] == ["--results", "out", "--study", "second", "--scale", "tiny"]
    assert options[6:] == ["--reads", "paper/a", "second/long", "--tables", "trajectories"]
    assert name_outputs(both) == ["out/figures/second.both.ipynb", "out/figures/second.both.html"]
    assert both.report_entry["caption"] == (tmp_path / "second/figures/both.rst").as_posix()


def test_runs_that_a_look_adds_are_compared_with_each_other_alone(plan):
    for name, seeds in (("paper/a", range(2, 4)), ("second/long", range(2, 3))):
        plan.resolved.runs[name] = dataclasses.replace(plan.resolved.runs[name], further=(seeds,))
    rules = {rule.label: rule for rule in plan.series_rules()}
    assert set(rules) == {
        *("paper.t.look1", "paper.t.look2", "paper.other.look1", "second.t.look1", "second.t.look2"),
    }
    outputs = name_outputs(rules["paper.t.look1"])
    assert {path.split("/")[-1] for path in outputs if "trajectories" not in path} == {
        f"{arm}.seed{seed}.parquet" for arm in ("a", "grafted") for seed in (0, 1)
    }
    later = rules["paper.t.look2"]
    assert name_outputs(later)[:2] == [
        "out/paper/series/t/a.seed2.parquet",
        "out/paper/series/t/a.seed2.trajectories.parquet",
    ]
    assert {path.parent.as_posix() for path in later.inputs["scores"]} == {f"out/paper/a/seed{k}/score" for k in (2, 3)}
    assert later.params["options"] == [
        *("--look", 2, "--out", "out/paper/series/t"),
        *("--runs", "out/paper/a/seed2/score", "out/paper/a/seed3/score"),
    ]


def test_scores_of_all_runs_are_listed(plan):
    assert len(plan.list_score_files()) == 4 * 2 * 2


def test_a_claim_that_does_not_exist_is_named_with_those_that_do(plan):
    plan.resolved.claims["paper.one"] = {}
    with pytest.raises(ValueError, match=r"no claim paper\.two; there are: paper\.one"):
        plan.list_evidence("paper", "two", 1)


def test_sources_are_the_commands_modules_and_templates(plan, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    names = {path.name for path in plan.stage_sources("index")}
    assert {"ledger.py", "index.html.j2"} <= names
    assert {path.suffix for path in plan.stage_sources("train", plan.groups[0])} == {".py"}
