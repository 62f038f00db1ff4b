"""A run repeated in another folder: the same bytes, or the differences are named."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reinduce.config.load import load
from reinduce.judge.criteria import read_criterion
from reinduce.replay import inventory
from reinduce.replay.compare import DECIDED, MIN_UNCHANGED_SHARE, VerdictChange, count_unchanged
from reinduce.replay.tolerances import find_tolerance
from tests.workflow.test_trace import RUN, edit_value, reinduce, restore_after

CLAIM = "olsson2022.abrupt-icl"
FRESH = "results/reference/fresh-seeds"
KINDS = (".parquet", ".safetensors", ".ipynb", ".html")


@pytest.fixture(scope="module")
def replayed(smoke, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a replay of the whole smoke run, and its output."""
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


def test_the_replay_reports_equality(replayed):
    into, output = replayed
    content = json.loads((into / "replay.json").read_text())
    assert content["agrees"] and not content["other_seeds"]
    assert {one["result"] for one in content["artefacts"]} == {"bit-identical"}
    assert {one["result"] for one in content["verdicts"]} == {"bit-identical"}
    files = sum(one["files"] for one in content["artefacts"])
    assert files > 1000 and f"{files} of {files} files are bit-identical." in output


def test_a_difference_is_named_with_its_tolerance(smoke):
    """The run compared with a copy of itself in which one table was edited."""
    table = smoke.root / RUN / "score/trajectories.parquet"
    with restore_after(table):
        copy = smoke.root / "copy"
        shutil.copytree(smoke.root / "results/smoke", copy, ignore=shutil.ignore_patterns("logs", "benchmarks"))
        edit_value(smoke.root)
        done = reinduce(smoke, "compare", "--results", "results/smoke", "--against", "copy", "--json", "compared.json")
        turned = reinduce(smoke, "compare", "--results", "copy", "--against", "results/smoke")
    shutil.rmtree(copy)
    assert done.returncode == turned.returncode == 4, done.stderr + turned.stderr
    name = "olsson2022/attn2/seed*/score/trajectories.parquet"
    assert f"{name}: different: value of " in done.stdout and "is allowed" in done.stdout
    content = json.loads((smoke.root / "compared.json").read_text())
    results = {one["name"]: (one["result"], one["identical"]) for one in content["artefacts"]}
    assert results.pop(name) == ("different", 2), "two of three seeds are as they were"
    assert {result for result, _ in results.values()} == {"bit-identical"}


def test_one_claim_on_seeds_never_used_before(smoke, tmp_path):
    command = ["replay", "--results", "results/smoke", "--claims", CLAIM, "--cores", "2", "--times", "1", "--seeds"]
    done = reinduce(smoke, *command, "fresh", "--into", str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "1 of 1 verdicts are unchanged on other seeds" in done.stdout
    results = tmp_path / "results/smoke"
    first = json.loads((results / "cli_overrides.json").read_text())["first_seed"]
    assert first >= 1000 and f"--seeds {first}" in done.stderr
    seeds = pq.read_table(results / f"olsson2022/attn2/seed{first}/score/trajectories.parquet")["seed"]
    assert set(seeds.to_pylist()) == {first}
    assert not (results / "figures").exists() and not list(results.glob("singh2024/*/seed*"))
    # A second replay in the same folder has nothing to do and keeps the seeds.
    again = reinduce(smoke, *command, "fresh", "--into", str(tmp_path))
    assert again.returncode == 0 and json.loads((results / "cli_overrides.json").read_text())["first_seed"] == first


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay", "--claims", "olsson2022.abrupt"], "no claim olsson2022.abrupt; the claims are: "),
        (["replay", "--times", "0.5"], "--times: a number from 1 on, not 0.5"),
        (["replay", "--seeds", "new"], "--seeds: 'fresh' or the number of the first seed, not 'new'"),
        (["replay", "--against", "workflow"], "workflow: it holds neither results nor a reference"),
        (["compare", "--against", "nowhere"], "nowhere: it holds neither results nor a reference"),
        (["replay", "--into", "workflow/.."], "it is not a link to this project; give --into a new folder"),
    ],
)
def test_wrong_arguments_are_reported_before_anything_runs(smoke, arguments, complaint):
    done = reinduce(smoke, arguments[0], "--results", "results/smoke", *arguments[1:])
    assert done.returncode == 2 and complaint in done.stderr


@pytest.mark.parametrize("command", [["trace", CLAIM], ["show"], ["crate", "--out", "out"], ["reference"], ["replay"]])
def test_results_of_a_run_in_another_folder_are_read_there(smoke, replayed, command):
    """Its manifests name files from there; here they would be those of this run."""
    folder = replayed[0] / "results/smoke"
    done = reinduce(smoke, *command, "--results", str(folder))
    assert done.returncode == 2 and f"{folder}: a run in another folder made these results" in done.stderr
    assert not (smoke.root / "out").exists()


def test_a_reference_is_small_and_its_own_run_agrees_with_it(smoke, tmp_path):
    """As `make reproduce` compares a new run with the reference in the repository."""
    resolved = load({"scale": "smoke", "results": str(smoke.root / "results/smoke")}, smoke.root)
    made = inventory.write_reference(
        inventory.build_inventory(resolved), tmp_path, smoke.root / "results/smoke/ledger.json"
    )
    assert sum(path.stat().st_size for path in made) < 1_000_000
    done = reinduce(smoke, "compare", "--results", "results/smoke", "--against", str(tmp_path))
    assert done.returncode == 0 and "88 of 88 verdicts are unchanged" in done.stdout
    # The copy is not a repository, and results of uncommitted sources are not accepted as a reference.
    refused = reinduce(smoke, "reference", "--results", "results/smoke", "--out", str(tmp_path / "other"))
    assert refused.returncode == 3 and "made from uncommitted sources" in refused.stderr


def test_every_metric_of_a_run_has_its_tolerance(smoke):
    resolved = load({"scale": "smoke", "results": str(smoke.root / "results/smoke")}, smoke.root)
    groups = inventory.build_inventory(resolved).groups
    metrics = {(metric, name.split("/")[0]) for name, group in groups.items() for metric in group.means}
    assert len({metric for metric, _ in metrics}) > 80
    assert {metric for metric in metrics if find_tolerance(*metric) is None} == set()


def read_fresh_seeds(root: Path) -> tuple[dict[str, dict], dict[str, VerdictChange]]:
    """The reference's claims by name, and what became of those that were run on fresh seeds: at laptop scale, in runs
    that share no seed with it, each of some claims."""
    reference = inventory.read_reference(root / "results/reference")
    rows = {f"{row['study']}.{row['claim']}": row for row in reference.claims}
    changes: dict[str, VerdictChange] = {}
    for file in sorted((root / FRESH).glob("*.json")):
        fresh = json.loads(file.read_text())
        candidate = fresh["seeds"]["candidate"]
        assert fresh["seeds"]["reference"] == reference.seeds and candidate.keys() == reference.seeds.keys()
        assert not any(set(candidate[name]) & set(seeds) for name, seeds in reference.seeds.items())
        found = {change["claim"]: VerdictChange(**change) for change in fresh["verdicts"]}
        assert len(found) == len(fresh["verdicts"]) and not found.keys() & changes.keys(), "no claim is run twice"
        changes |= found
    assert changes.keys() <= rows.keys()
    assert all(rows[name][key] == value for name, change in changes.items() for key, value in change.reference.items())
    return rows, changes


@pytest.mark.xfail(strict=True, reason="58 of 63 verdicts stay: stronger claims and new seeds are needed")
def test_on_fresh_seeds_enough_verdicts_are_unchanged():
    rows, changes = read_fresh_seeds(Path(__file__).parents[2])
    unchanged, decided = count_unchanged(changes.values())
    all_decided = sum(row["verdict"] in DECIDED for row in rows.values())
    # What is still to be run cannot make up for what has changed.
    assert all_decided > 50 and decided - unchanged <= (1 - MIN_UNCHANGED_SHARE) * all_decided


def test_what_is_said_of_fresh_seeds_is_what_came_out_there():
    root = Path(__file__).parents[2]
    rows, changes = read_fresh_seeds(root)
    unchanged, decided = count_unchanged(changes.values())
    verdict = "enough" if unchanged >= MIN_UNCHANGED_SHARE * decided else "too few"
    [said] = re.findall(r"(\d+) of (\d+) stayed, which is (enough|too few)", (root / "README.md").read_text())
    assert said == (str(unchanged), str(decided), verdict)
    for name in rows:
        study, claim = name.split(".")
        readme = (root / "workflow/studies" / study / "README.md").read_text()
        section = readme.partition("\n## On fresh seeds\n")[2].partition("\n## ")[0]
        explained, _, to_come = section.partition("Still to be run on other seeds:")
        assert (f"`{claim}`" in to_come) == (name not in changes), name
        assert (f"`{claim}`" in explained) == (name in changes and not changes[name].unchanged), name


def test_the_reference_in_the_repository_matches_the_configuration():
    """Its claims are those of the studies, at the scale that `make reproduce` runs."""
    root = Path(__file__).parents[2]
    reference, resolved = inventory.read_reference(root / "results/reference"), load(root=root)
    assert reference.scale == resolved.config.scale == "laptop"
    assert {f"{row['study']}.{row['claim']}" for row in reference.claims} == set(resolved.claims)
    assert reference.seeds == {name: list(run.seeds) for name, run in resolved.runs.items()}
    criteria = {f"{row['study']}.{row['claim']}": row["criterion"] for row in reference.claims}
    assert criteria == {name: str(read_criterion(claim["criterion"])) for name, claim in resolved.claims.items()}
