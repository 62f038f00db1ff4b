"""A run made again in another folder: the same bytes, or what differs is named."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reinduce.config.load import load, tolerances
from reinduce.judge.statistics import read_criterion
from reinduce.replay import inventory
from reinduce.replay.compare import STABLE, Turn, stability, tolerance_of
from tests.workflow.test_trace import RUN, edit_value, kept, reinduce

CLAIM = "olsson2022.abrupt-icl"
FRESH = "results/reference/fresh-seeds.json"
KINDS = (".parquet", ".safetensors", ".ipynb", ".html")


@pytest.fixture(scope="module")
def replayed(smoke, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a replay of the whole smoke run, and what was said of it."""
    into = tmp_path_factory.mktemp("again") / "run"
    done = reinduce(smoke, "replay", "--results", "results/smoke", "--into", str(into), "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return into, done.stdout


def test_two_runs_in_two_folders_are_the_same_bytes(smoke, replayed, record_property):
    first, second = (root / "results/smoke" for root in (smoke.root, replayed[0]))
    names = {path.relative_to(first) for path in first.rglob("*") if path.suffix in KINDS}
    assert names == {path.relative_to(second) for path in second.rglob("*") if path.suffix in KINDS}
    differing = [str(name) for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    assert differing == []
    counts = ", ".join(f"{sum(name.suffix == kind for name in names)} {kind[1:]}" for kind in KINDS)
    record_property("figure", f"two smoke runs in two folders: {len(names)} files the same bit for bit ({counts})")


def test_the_replay_says_so(replayed):
    into, said = replayed
    told = json.loads((into / "replay.json").read_text())
    assert told["agrees"] and not told["other_seeds"]
    assert {one["result"] for one in told["artefacts"]} == {"bit-identical"}
    assert {one["result"] for one in told["verdicts"]} == {"bit-identical"}
    files = sum(one["files"] for one in told["artefacts"])
    assert files > 1000 and f"{files} of {files} files are the same bit for bit." in said


def test_what_differs_is_named_with_what_was_allowed(smoke):
    """The run compared with a copy of itself in which one table was edited."""
    table = smoke.root / RUN / "score/trajectories.parquet"
    with kept(table):
        copy = smoke.root / "copy"
        shutil.copytree(smoke.root / "results/smoke", copy, ignore=shutil.ignore_patterns("logs", "benchmarks"))
        edit_value(smoke.root)
        done = reinduce(smoke, "compare", "--results", "results/smoke", "--against", "copy", "--json", "told.json")
    shutil.rmtree(copy)
    assert done.returncode == 4, done.stderr
    name = "olsson2022/attn2/seed*/score/trajectories.parquet"
    assert f"{name}: different: value of " in done.stdout and "is allowed" in done.stdout
    told = json.loads((smoke.root / "told.json").read_text())
    results = {one["name"]: (one["result"], one["identical"]) for one in told["artefacts"]}
    assert results.pop(name) == ("different", 1)
    assert {result for result, _ in results.values()} == {"bit-identical"}


def test_one_claim_on_seeds_never_used_before(smoke, tmp_path):
    command = ["replay", "--results", "results/smoke", "--claims", CLAIM, "--cores", "2", "--seeds"]
    done = reinduce(smoke, *command, "fresh", "--into", str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "1 of 1 verdicts are the same on other seeds" in done.stdout
    results = tmp_path / "results/smoke"
    first = json.loads((results / "given.json").read_text())["first_seed"]
    assert first >= 1000 and f"--seeds {first}" in done.stderr
    seeds = pq.read_table(results / f"olsson2022/attn2/seed{first}/score/trajectories.parquet")["seed"]
    assert set(seeds.to_pylist()) == {first}
    assert not (results / "figures").exists() and not list(results.glob("singh2024/*/seed*"))
    # Once more in the same folder: nothing is left to do, and the seeds stay.
    again = reinduce(smoke, *command, "fresh", "--into", str(tmp_path))
    assert again.returncode == 0 and json.loads((results / "given.json").read_text())["first_seed"] == first


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay", "--claims", "olsson2022.abrupt"], "no claim olsson2022.abrupt; there are: "),
        (["replay", "--seeds", "new"], "--seeds: 'fresh' or the number of the first, not 'new'"),
        (["replay", "--against", "workflow"], "workflow: no results are here, nor a reference"),
        (["compare", "--against", "nowhere"], "nowhere: no results are here, nor a reference"),
        (["replay", "--into", "workflow/.."], "it is not this project's; give --into a new folder"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_runs(smoke, arguments, complaint):
    done = reinduce(smoke, arguments[0], "--results", "results/smoke", *arguments[1:])
    assert done.returncode == 2 and complaint in done.stderr


def test_a_reference_is_small_and_its_own_run_agrees_with_it(smoke, tmp_path):
    """As `make reproduce` compares a newcomer's run with that in the repository."""
    resolved = load({"scale": "smoke", "results": str(smoke.root / "results/smoke")}, smoke.root)
    made = inventory.write(inventory.taken(resolved), tmp_path, smoke.root / "results/smoke/ledger.json")
    assert sum(path.stat().st_size for path in made) < 1_000_000
    done = reinduce(smoke, "compare", "--results", "results/smoke", "--against", str(tmp_path))
    assert done.returncode == 0 and "88 of 88 verdicts are the same" in done.stdout
    # The copy is no repository: what uncommitted sources made is no reference.
    refused = reinduce(smoke, "reference", "--results", "results/smoke", "--out", str(tmp_path / "other"))
    assert refused.returncode == 3 and "made from uncommitted sources" in refused.stderr


def test_every_metric_of_a_run_has_its_tolerance(smoke):
    resolved = load({"scale": "smoke", "results": str(smoke.root / "results/smoke")}, smoke.root)
    allowed = tolerances(smoke.root)
    metrics = {metric for group in inventory.taken(resolved).groups.values() for metric in group.means}
    assert len(metrics) > 80
    assert {metric for metric in metrics if tolerance_of(metric, allowed) is None} == set()


def test_on_fresh_seeds_enough_verdicts_stay_and_those_that_turned_are_explained():
    """What stands beside the reference: a run at laptop scale that shares no seed with it."""
    root = Path(__file__).parents[2]
    reference, fresh = inventory.read(root / "results/reference"), json.loads((root / FRESH).read_text())
    assert fresh["seeds"]["there"] == reference.seeds and fresh["seeds"]["here"].keys() == reference.seeds.keys()
    assert not any(set(fresh["seeds"]["here"][name]) & set(seeds) for name, seeds in reference.seeds.items())
    there = {f"{row['study']}.{row['claim']}": row for row in reference.claims}
    told = {verdict["claim"]: verdict for verdict in fresh["verdicts"]}
    assert told.keys() == there.keys()
    assert all(there[name][key] == value for name, verdict in told.items() for key, value in verdict["there"].items())
    turns = [Turn(name, verdict["here"], verdict["there"], verdict["result"]) for name, verdict in told.items()]
    kept, decided = stability(turns)
    assert decided > 50 and kept >= STABLE * decided
    for turn in turns:
        study, claim = turn.claim.split(".")
        readme = (root / "workflow/studies" / study / "README.md").read_text()
        section = readme.partition("\n## On fresh seeds\n")[2].partition("\n## ")[0]
        assert (f"`{claim}`" in section) == (not turn.kept), turn.claim


def test_the_reference_in_the_repository_is_of_what_is_configured():
    """Its claims are those that stand in the studies, at the scale that `make reproduce` runs."""
    root = Path(__file__).parents[2]
    kept_there, resolved = inventory.read(root / "results/reference"), load(root=root)
    assert kept_there.scale == resolved.config.scale == "laptop"
    assert {f"{row['study']}.{row['claim']}" for row in kept_there.claims} == set(resolved.claims)
    assert kept_there.seeds == {name: list(run.seeds) for name, run in resolved.runs.items()}
    criteria = {f"{row['study']}.{row['claim']}": row["criterion"] for row in kept_there.claims}
    assert criteria == {name: str(read_criterion(claim["criterion"])) for name, claim in resolved.claims.items()}
