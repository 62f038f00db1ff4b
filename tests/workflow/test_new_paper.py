"""A new paper is one folder, wherever it lies: no line of the engine, the rules or the scales changes for it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.project import Project

PAPER = Path(__file__).parent / "new_paper"
STUDY = "mine2027"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A copy of the project beside a folder that holds the paper, whose claim and figure have been made."""
    project = Project(tmp_path_factory.mktemp("project"))
    elsewhere = tmp_path_factory.mktemp("papers")
    shutil.copytree(PAPER, elsewhere / STUDY)
    config = project.root / "config.yaml"
    own, other = "[olsson2022, review2026, singh2024]", f"[olsson2022, {STUDY}]"
    text = config.read_text()
    changes = {own: other, "study_folders: []": f"study_folders: [{elsewhere}]", "scale: laptop": "scale: smoke"}
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    config.write_text(text)
    project.paper = elsewhere / STUDY
    project.run_snakemake("--cores", "2", "--", *wanted())
    return project


def wanted() -> list[str]:
    """The paper's claim and figure."""
    return [f"results/smoke/claims/{STUDY}.uniform-is-uniform.json", f"results/smoke/figures/{STUDY}.alternating.html"]


def reinduce(project: Project, *arguments: str) -> subprocess.CompletedProcess:
    """Run a command of the copy."""
    command = [sys.executable, "-m", "reinduce", *arguments]
    return subprocess.run(command, cwd=project.root, env=project.environment, capture_output=True, text=True)


def test_the_paper_is_short_and_changes_nothing_else(project):
    files = [path for path in PAPER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 150
    for part in ("src", "workflow"):
        own = Path(__file__).parents[2] / part
        assert not subprocess.run(["diff", "-rq", "-x", "__pycache__", own, project.root / part]).returncode


def test_the_configuration_with_the_paper_is_right(project):
    done = reinduce(project, "check")
    assert done.returncode == 0, done.stderr
    assert f"{STUDY}/free" in done.stdout and f"{STUDY}/uniform" in done.stdout


def test_the_papers_metric_is_scored_under_its_intervention_on_its_task(project):
    rows = pq.read_table(project.root / f"results/smoke/{STUDY}/uniform/seed0/score/step00000030.parquet").to_pylist()
    assert {row["metric"] for row in rows} == {"attention_two_back", "loss"}, "the metrics that the arm asks for"
    shares = [row["value"] for row in rows if row["metric"] == "attention_two_back"]
    # By hand: position t, from 0 on, gives each of t + 1 tokens an equal share.
    expected = sum(1 / (position + 1) for position in range(2, 64)) / 62
    assert shares == pytest.approx([expected] * 2, abs=1e-6)
    data = json.loads((project.root / f"results/smoke/data/{STUDY}.alternation/task.json").read_text())
    assert data["task"] == f"{STUDY}.alternation"


def test_the_claim_is_judged_and_traced_to_the_papers_own_code(project):
    verdict = json.loads((project.root / wanted()[0]).read_text())
    assert verdict["estimate"] == pytest.approx(0.06, abs=0.02) and verdict["n_seeds"] == 3
    traced = reinduce(project, "trace", f"{STUDY}.uniform-is-uniform", "--results", "results/smoke")
    assert traced.returncode == 0, traced.stdout + traced.stderr
    assert f"score_{STUDY}" in traced.stdout and f"data/{STUDY}.alternation" in traced.stdout
    manifest = json.loads((project.root / f"results/smoke/{STUDY}/free/seed0/score/manifest.json").read_text())
    assert f"reinduce.studies.{STUDY}.metrics" in manifest["modules"]


def test_an_edit_of_the_papers_metric_scores_its_arms_again_and_nothing_else(project):
    path = project.paper / "metrics.py"
    before, everything = path.read_text(), project.count_planned_jobs()
    assert not project.count_planned_jobs("--", *wanted())
    path.write_text(before + "\n# edited\n")
    try:
        planned = set(project.count_planned_jobs("--", *wanted()))
        more = {rule: n - everything.get(rule, 0) for rule, n in project.count_planned_jobs().items()}
    finally:
        path.write_text(before)
    assert {rule.split("_")[0] for rule in planned} == {"score", "look", "claim", "figure"}
    assert {rule for rule, n in more.items() if n} == planned and all("olsson" not in rule for rule in planned)
    refused = reinduce(project, "trace", f"{STUDY}.uniform-is-uniform", "--results", "results/smoke")
    assert refused.returncode == 0, "put back, all holds again"


def test_the_claim_is_replayed(project, tmp_path):
    into = str(tmp_path / "replay")
    name = f"{STUDY}.uniform-is-uniform"
    there = ("--results", "results/smoke", "--against", "results/smoke")
    done = reinduce(project, "replay", *there, "--claims", name, "--into", into, "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 verdicts" in done.stdout
