"""A run as a Workflow Run RO-Crate: valid by the profile's rules, complete, and refused where the run is."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from reinduce.trace.files import sha256
from tests.workflow.test_trace import RUN, reinduce, restore_after

BIOSCHEMAS = "https://bioschemas.org/"
TERMS_OF_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
    "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
}
"""Terms of RO-Crate 1.1 that differ in the library's own list, which is that of 1.3."""


@pytest.fixture(scope="module")
def exported(smoke, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crate") / "run"
    for name in ("LICENSE", "README.md", "CITATION.cff"):
        shutil.copy(Path(__file__).parents[2] / name, smoke.root)
    command = ["crate", "--results", "results/smoke", "--out", str(folder), "--agent", "A. Reader"]
    done = reinduce(smoke, *command)
    assert done.returncode == 0, done.stderr
    return folder


VALIDATOR = """
import json, sys
from pathlib import Path
import requests, rocrate
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

known = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text())
known["@context"] |= json.loads(sys.argv[2])

def get(self, url, **options):
    assert url == "https://w3id.org/ro/crate/1.1/context", url
    answer = requests.Response()
    answer.status_code, answer.headers["Content-Type"] = 200, "application/ld+json"
    answer._content = json.dumps(known).encode()
    return answer

HttpRequester.get = get
settings = services.ValidationSettings(
    rocrate_uri=sys.argv[1],
    profile_identifier="workflow-run-crate",
    requirement_severity=models.Severity.REQUIRED,
    offline=True,
)
found = services.validate(settings).get_issues()
print(json.dumps([f"{issue.check.identifier}: {issue.message}" for issue in found]))
"""
"""Runs in its own process because its imports replace parts of importlib.metadata. It has no network access."""


def find_issues(folder: Path) -> list[str]:
    """Violations of the profile's MUSTs that the validator finds in a crate."""
    command = [sys.executable, "-c", VALIDATOR, str(folder), json.dumps(TERMS_OF_1_1)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_a_valid_workflow_run_crate(exported):
    assert find_issues(exported) == []


def test_the_validator_finds_an_issue(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "broken")
    path = tmp_path / "broken/ro-crate-metadata.json"
    path.write_text(path.read_text().replace('"instrument"', '"tool"'))
    assert any("instrument" in problem for problem in find_issues(tmp_path / "broken"))


def test_every_file_is_there_with_its_hash_and_jobs_lead_from_one_to_the_next(exported, smoke):
    crate = ROCrate(exported)
    files = [entity for entity in crate.data_entities if "File" in entity.type]
    assert len(files) > 800
    assert all(entity["sha256"] == sha256(exported / entity.id) for entity in files if entity.get("sha256"))
    table = f"{RUN}/score/trajectories.parquet"
    jobs = [entity for entity in crate.contextual_entities if entity.type == "CreateAction" and entity.id != "#run"]
    as_list = {job.id: [job.get(side) for side in ("object", "result")] for job in jobs}
    reads, writes = ({key for key, sides in as_list.items() if table in str(sides[side])} for side in (0, 1))
    assert len(writes) == 1 and reads and not reads & writes
    weights = f"#{RUN}/train/checkpoints/step00000030.safetensors"
    assert crate.get(weights)["sha256"] == sha256(smoke.root / weights.lstrip("#"))
    assert not list(exported.rglob("*.safetensors"))


def test_as_one_file_with_weights(smoke, tmp_path, exported):
    out = tmp_path / "run.zip"
    assert reinduce(smoke, "crate", "--results", "results/smoke", "--large", "--out", str(out)).returncode == 0
    with zipfile.ZipFile(out) as archive:
        assert f"{RUN}/train/checkpoints/step00000030.safetensors" in archive.namelist()
    again = reinduce(smoke, "crate", "--results", "results/smoke", "--out", str(out))
    assert again.returncode == 2 and "it exists already" in again.stderr


def test_untrusted_results_are_not_exported(smoke, tmp_path):
    path = smoke.root / RUN / "score/trajectories.parquet"
    with restore_after(path):
        path.write_bytes(path.read_bytes() + b" ")
        done = reinduce(smoke, "crate", "--results", "results/smoke", "--out", str(tmp_path / "x"))
    assert done.returncode == 3 and "it was changed after it was made" in done.stderr
    assert not (tmp_path / "x").exists()
