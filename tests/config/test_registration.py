"""What was registered when: an amendment is seen, and so are seeds that were known before it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reinduce.config import registration
from reinduce.config.load import load

ROOT = Path(__file__).parents[2]
CLAIM = "olsson2022.abrupt-icl"


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the configuration without results and registrations."""
    for name in ("config.yaml", "workflow"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for path in tmp_path.glob(f"workflow/studies/*/{registration.FILE}"):
        path.unlink()
    return tmp_path


def register(root: Path) -> list[str]:
    command = [sys.executable, "-m", "reinduce", "register", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def edit(root: Path, before: str, after: str, name: str = "claims.yaml") -> None:
    path = root / "workflow/studies/olsson2022" / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_each_claim_is_registered_once(project):
    assert load(root=project).claims[CLAIM]["registered"] is None
    added = register(project)
    assert len(added) == len(load(root=project).claims) and f"{CLAIM}: registered" in added
    assert register(project) == []
    assert load(root=project).claims[CLAIM]["registered"]["known_seeds"] == {}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("claims.yaml", "holds: {below: 0.2}", "holds: {below: 0.25}"),
        ("claims.yaml", "in a narrow early stretch", "in a narrow stretch"),
        ("claims.yaml", "AND metric = 'phase_change_fraction'", "AND metric = 'window_share'"),
        (
            "claims.yaml",
            'control: {with: {arm: attn1}, why: "One layer cannot',
            'control: {with: {arm: attn3}, why: "One layer cannot',
        ),
        ("study.yaml", "seeds: [5, 8]", "seeds: [5, 7]"),
    ],
)
def test_an_amendment_is_seen_and_marks_itself(project, name, before, after):
    register(project)
    edit(project, before, after, name)
    assert load(root=project).claims[CLAIM]["registered"] is None
    row = {"reads": {"scores": ["olsson2022/attn2"]}, "values": {"0": 1.0}}
    row |= {"control_reads": {"scores": ["olsson2022/attn1"]}, "control_values": {"0": 1.0, "1": None}}
    reference = project / registration.REFERENCE
    reference.parent.mkdir(parents=True)
    reference.write_text(json.dumps({"claims": [row]}))
    assert f"{CLAIM}: amended, after seeds of its arms had been judged" in register(project)
    line = load(root=project).claims[CLAIM]["registered"]
    assert line["known_seeds"]["olsson2022/attn2"] == [0]
    assert line["known_seeds"].get("olsson2022/attn1", [0, 1]) == [0, 1]
    history = registration.read_registration(project / "workflow/studies/olsson2022")["abrupt-icl"]
    assert len(history) == 2 and history[0]["hash"] != history[1]["hash"]


def test_what_no_verdict_follows_from_is_no_amendment(project):
    register(project)
    edit(project, 'paper_value: {text: "over 75 %', 'paper_value: {text: "over 70 %')
    assert register(project) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "null",
        "[]",
        '{"abrupt-icl": "x"}',
        '{"abrupt-icl": null}',
        '{"abrupt-icl": [null]}',
        '{"abrupt-icl": [{}]}',
        '{"abrupt-icl": [{"date": "2026-11-01", "hash": "0", "known_seeds": {"a/b": 3}}]}',
    ],
)
def test_a_broken_registration_is_one_error(tmp_path, text):
    (tmp_path / registration.FILE).write_text(text)
    with pytest.raises(ValueError, match=f"{registration.FILE}: .*; restore it from git"):
        registration.read_registration(tmp_path)


def test_a_broken_ledger_is_one_error(project):
    reference = project / registration.REFERENCE
    reference.parent.mkdir(parents=True)
    reference.write_text('{"claims": [{}]}')
    command = [sys.executable, "-m", "reinduce", "register", "--root", str(project)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and f"{reference}: not a ledger" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("values", "has_other_seeds"),
    [
        ({}, False),
        ({"first_seed": 500}, False),
        ({"looks": 1}, True),
        ({"seed_factor": 2.0}, True),
        ({"budget": {"seeds": 50}}, True),
        ({"overrides": {"olsson2022": {"attn2": {"seeds": [5, 50]}}}}, True),
        ({"overrides": {"olsson2022": {"attn3": {"seeds": [5, 50]}}}}, False),
    ],
)
def test_other_seeds_than_registered_are_told(values, has_other_seeds):
    line = load(values, ROOT).claims[CLAIM]["registered"]
    assert ("other_seeds" in line) == has_other_seeds


def test_what_is_shipped_is_registered_as_it_is():
    missing = [name for name, claim in load(root=ROOT).claims.items() if claim["registered"] is None]
    assert not missing, "run `reinduce register` and commit its files"
