"""Seeds are added to the arms of undecided claims, and to no others; what ends between two looks goes on."""

import json
import os
import signal
import subprocess
import time

import pytest

CLAIM = "olsson2022.one-layer-no-induction-head"
VERDICT = f"results/smoke/claims/{CLAIM}.json"


def seeds_of(project, arm: str) -> set[str]:
    return {path.name for path in (project.root / "results/smoke/olsson2022" / arm).glob("seed*")}


def test_only_arms_with_a_further_look_get_more_seeds(smoke):
    assert seeds_of(smoke, "attn1") == seeds_of(smoke, "attn2") == {"seed0", "seed1", "seed2"}
    assert seeds_of(smoke, "attn3") == {"seed0", "seed1"}


def test_a_verdict_tells_of_all_its_looks(smoke):
    judged = json.loads((smoke.root / VERDICT).read_text())
    assert [(look["look"], look["n_seeds"]) for look in judged["looks"]] == [(1, 2), (2, 3)]
    assert judged["looks"][0]["verdict"] == "inconclusive"
    assert list(judged["values"]) == ["0", "1", "2"] and not judged["is_open"]


def test_a_claim_of_which_an_arm_has_one_look_has_one(smoke):
    """Seeds that not all arms of a claim have would not help it: `attn3` has two, and no further look."""
    judged = json.loads((smoke.root / "results/smoke/claims/olsson2022.constant-across-sizes.json").read_text())
    assert [look["n_seeds"] for look in judged["looks"]] == [2]
    assert list(judged["values"]) == ["0", "1"]


def test_the_log_tells_which_seeds_are_added(smoke):
    text = (smoke.root / f"results/smoke/logs/look/{CLAIM}.1.log").read_text()
    assert "seeds are added: olsson2022/attn1: 2; olsson2022/attn2: 2" in text


@pytest.fixture(scope="module")
def killed(tmp_path_factory, smoke):
    """A run of one claim, killed once its first look was taken."""
    from tests.project import Project

    project = Project(tmp_path_factory.mktemp("killed"))
    first = project.root / f"results/smoke/looks/{CLAIM}/look1.manifest.json"
    with open(project.root / "output", "w") as output:
        run = subprocess.Popen(
            ["snakemake", "--cores", "2", "--config", "scale=smoke", "--", VERDICT],
            cwd=project.root,
            env=project.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        while not first.exists() and run.poll() is None:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert first.exists(), (project.root / "output").read_text()[-3000:]
    return project


def test_a_run_killed_between_looks_goes_on_to_the_same_bytes_and_seeds(killed, smoke):
    assert not (killed.root / VERDICT).exists()
    killed.run_snakemake("--unlock", "--config", "scale=smoke", "--", VERDICT)
    killed.run_snakemake("--cores", "2", "--rerun-incomplete", "--config", "scale=smoke", "--", VERDICT)
    assert (killed.root / VERDICT).read_bytes() == (smoke.root / VERDICT).read_bytes()
    assert seeds_of(killed, "attn1") == {"seed0", "seed1", "seed2"}


def test_one_look_is_todays_single_look(killed):
    killed.run_snakemake("--cores", "2", "--config", "scale=smoke", "looks=1", "--", VERDICT)
    judged = json.loads((killed.root / VERDICT).read_text())
    assert (judged["n_seeds"], len(judged["looks"])) == (2, 1)
