"""docs/metrics.md and docs/glossary.md follow from the declarations, and the examples of CONTRIBUTING.md are valid."""

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml as plain_yaml
from pydantic import BaseModel

from reinduce import studies
from reinduce.ablate.joint import ABLATIONS, OTHER_INTERVENTIONS
from reinduce.config import claim_files, job_specs, metric_settings, user_config, yaml
from reinduce.config.describe import describe_keys
from reinduce.config.find import find_all
from reinduce.config.glossary import PLACES, TERMS_FILE
from reinduce.config.pages import format_pages, list_studies
from reinduce.judge.criteria import Criterion, SeedLaw, Threshold
from reinduce.judge.verdicts import Verdict, apply_control, apply_family, judge_seeds
from reinduce.replay.compare import CLASSES
from reinduce.tables.schemas import SCHEMAS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STUDIES = list_studies([studies.OWN_FOLDER])
UP = {"holds": Threshold("above", 0.7), "fails": Threshold("below", 0.3)}
MEAN, SHARE = Criterion(SeedLaw("mean", deviation=0.05), **UP), Criterion(SeedLaw("share", (0, 1)), **UP)


@pytest.fixture(scope="module")
def terms() -> dict:
    return yaml.read(DOCS / TERMS_FILE)


@pytest.fixture(scope="module")
def glossary() -> dict[str, list[list[str]]]:
    """First cell of each line of the glossary → the lines' other cells."""
    lines: dict[str, list[list[str]]] = {}
    for line in (DOCS / "glossary.md").read_text().splitlines():
        if line.startswith("| "):
            term, *others = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            term = re.sub(r"^\[(.*)\]\(.*\)$", r"\1", term)
            lines.setdefault(term.strip("`"), []).append(others)
    return lines


@pytest.mark.parametrize("name", ["metrics.md", "glossary.md"])
def test_a_page_is_as_the_declarations_say(name, terms):
    assert (DOCS / name).read_text() == format_pages(terms, STUDIES)[name], f"docs/{name} is old: run `reinduce docs`"


def test_the_command_writes_the_same_pages_twice_and_imports_no_torch(tmp_path, terms):
    (tmp_path / TERMS_FILE).write_text((DOCS / TERMS_FILE).read_text())
    program = (
        "import sys\nfrom reinduce.cli import main\n"
        f"assert main(['docs', '--out', {str(tmp_path)!r}]) == 0\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    written = {path.name: path.read_text() for path in tmp_path.glob("*.md")}
    assert written == format_pages(terms, STUDIES)


def test_every_line_has_a_meaning(glossary):
    empty = [(term, row) for term, rows in glossary.items() for row in rows if not row[-1]]
    assert not empty


def test_every_table_and_every_column_has_its_line(glossary):
    for table, columns in SCHEMAS.items():
        assert glossary[table]
        for column in columns:
            rows = [row for row in glossary[column.name] if f"`{table}`" in row[0]]
            assert [row[1:] for row in rows] == [[column.unit, column.meaning]], (table, column.name)


def test_every_key_of_the_configuration_has_its_line(glossary):
    classes = [
        cls
        for module in (user_config, claim_files, job_specs, metric_settings)
        for cls in vars(module).values()
        if isinstance(cls, type)
        and cls.__module__ == module.__name__
        and (dataclasses.is_dataclass(cls) or issubclass(cls, BaseModel))
        and cls is not user_config.Strict
    ]
    assert {*classes} == {*PLACES}, "a class of the configuration without the place where people write its keys"
    for cls in classes:
        fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else cls.model_fields
        keys = describe_keys(cls)
        assert len(keys) == len(fields) > 0
        for key in keys:
            assert [PLACES[cls] in row[0] for row in glossary[key.name] if row[-1] == key.meaning].count(True) == 1


def test_every_declaration_has_its_line_and_its_section(glossary):
    sections = re.findall(r"^#### `(\w+)`$", (DOCS / "metrics.md").read_text(), flags=re.MULTILINE)
    names = [
        name
        for kind in ("metric", "task", "intervention", "ablation")
        for owner in ("", *STUDIES)
        for name, declared in find_all(kind, owner).items()
        if declared.owner == owner and declared.module.startswith("reinduce.")
    ]
    assert len(names) > 50
    assert sorted(sections) == sorted(names)
    assert {*names} <= {*glossary}


def reasons() -> list[tuple[str, str]]:
    """Verdicts and reasons that the judge gives, each kind once."""

    def judge(values, criterion=MEAN) -> Verdict:
        return judge_seeds(dict(enumerate(values)), range(len(values)), criterion)

    high = judge([0.8, 0.81, 0.82])
    found = [
        high,
        judge([0.1, 0.11, 0.12]),
        judge([0.2, 0.5, 0.8]),
        judge([0.8, None, 0.8]),
        judge([0.8, 0.9]),
        judge([0.5, 0.5, 0.5]),
        judge([0.6, 0.7, 0.8]),
        judge([0.9] * 5 + [0.1] * 5),
        judge([1, 1, 1], SHARE),
        apply_control(high, high, [0.8, 0.81, 0.82], MEAN),
        apply_control(high, judge([0.71, 0.72, 0.71]), [0.71, 0.72, 0.71], MEAN),
        apply_control(high, judge([None, None]), [None, None], MEAN),
        apply_family(high, 1000),
    ]
    return [(verdict.verdict, verdict.reason) for verdict in found]


def test_every_verdict_and_every_reason_has_its_line(terms, glossary):
    assert {*terms["verdicts"]} <= {*glossary}
    used = set()
    for verdict, reason in reasons():
        patterns = {term: re.escape(term).replace("…", ".*") for term in terms["verdicts"]}
        fitting = [term for term, pattern in patterns.items() if re.fullmatch(pattern, reason)]
        assert len(fitting) == 1, (reason, fitting)
        used |= {verdict, *fitting}
    assert used == {*terms["verdicts"]}, "a line for a reason that the judge does not give"


def test_every_result_of_a_comparison_has_its_line(terms):
    assert {*terms["comparisons"]} == {*CLASSES}


def test_every_joint_intervention_has_its_line(terms):
    values = terms["values"]
    assert {*values["intervention"]} == {method for method, _ in ABLATIONS} | {*OTHER_INTERVENTIONS}
    assert {downstream for _, downstream in ABLATIONS} <= {*values["downstream"]}


def merge(first: dict, further: dict) -> dict:
    """Return nested mappings with the entries of both."""
    shared = {key: merge(first[key], further[key]) for key in first.keys() & further.keys()}
    return first | further | shared


def test_the_examples_of_contributing_are_a_study_that_passes_the_check(tmp_path):
    """The first line of each example names its file; further entries of study.yaml are added to those before."""
    folder, arms = tmp_path / "papers" / "mine2027", {}
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for block in re.findall(r"^```(?:yaml|python|rst)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        name = re.match(r"(?:#|\.\.) ([\w./-]+)", block)[1]
        if name == "study.yaml":
            arms = merge(arms, plain_yaml.safe_load(block))
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(block)
    (folder / "study.yaml").write_text(plain_yaml.safe_dump(arms))
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    config = f"scale: laptop\nstudies: [mine2027]\nstudy_folders: [{folder.parent}]\n"
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, "-m", "reinduce", "check", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0].strip() for line in done.stdout.splitlines()[1:-1]] == [
        f"mine2027/{arm}" for arm in plain_yaml.safe_load((folder / "study.yaml").read_text())["arms"]
    ]
