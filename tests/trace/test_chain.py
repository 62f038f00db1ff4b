"""Small planted chains in which each link is broken."""

import json

import pytest

from reinduce.commands import COMMANDS, stage_module
from reinduce.trace.chain import Chain, Refused
from reinduce.trace.files import write_text
from reinduce.trace.places import PLACES
from reinduce.trace.sources import digest
from reinduce.trace.tree import build_tree, common_name, format_age, format_tree, list_commands
from tests.planted import plant_manifest

ONE, TWO = "results/data/words", "results/paper/two/seed0/train"
SETTING = "results/data/words/task.json"


@pytest.fixture
def made(tmp_path):
    """A training's file b is made from data a, which are made from a setting and a source."""
    write_text(tmp_path / SETTING, "{}")
    write_text(tmp_path / "notes.py", "print()")
    write_text(tmp_path / ONE / "a.txt", "a")
    inputs = [tmp_path / SETTING, tmp_path / "notes.py"]
    plant_manifest("data", inputs, [tmp_path / ONE / "a.txt"], rule=["first"])
    write_text(tmp_path / "results/paper/two/train.json", "{}")
    write_text(tmp_path / TWO / "b.txt", "b")
    inputs = [tmp_path / ONE / "a.txt", tmp_path / "results/paper/two/train.json"]
    plant_manifest("train", inputs, [tmp_path / TWO / "b.txt"], rule=["second", "x"])
    return tmp_path


def faults(root, **options) -> list[str]:
    chain = Chain(root / "results", **options)
    return [
        f"{fault.file.removeprefix(f'{root}/')}: {fault.reason}" for fault in chain.find_faults([f"{root}/{TWO}/b.txt"])
    ]


def test_an_untouched_chain_has_no_fault(made):
    assert faults(made) == []
    Chain(made / "results").verify([f"{made}/{TWO}/b.txt"])


CHANGED = "it was changed after it was made (its hash differs)"
OTHER = "it was made from another file: {root}/%s differs from the version that was read"
LONGER = "it was changed after it was made: 1 bytes were written, it has 2"
CONFIGURED = f"it was made under other settings: {{root}}/{SETTING} differs from the version that was read"


@pytest.mark.parametrize(
    ("name", "text", "reasons"),
    [
        (f"{TWO}/b.txt", "c", {f"{TWO}/b.txt": CHANGED}),
        (f"{TWO}/b.txt", "bb", {f"{TWO}/b.txt": LONGER}),
        (SETTING, "{ }", {f"{ONE}/a.txt": CONFIGURED}),
        ("notes.py", "x", {f"{ONE}/a.txt": OTHER % "notes.py"}),
        (f"{ONE}/a.txt", "z", {f"{TWO}/b.txt": OTHER % f"{ONE}/a.txt", f"{ONE}/a.txt": CHANGED}),
    ],
)
def test_a_changed_file_is_found_wherever_it_lies(made, name, text, reasons):
    (made / name).write_text(text)
    expected = [f"{file}: {reason}".replace("{root}", str(made)) for file, reason in reasons.items()]
    assert faults(made) == expected


def test_missing_files_and_manifests_are_found(made):
    (made / ONE / "manifest.json").unlink()
    assert faults(made) == [f"{ONE}/a.txt: it has no manifest: how it was made cannot be known"]
    (made / ONE / "a.txt").unlink()
    assert faults(made) == [f"{ONE}/a.txt: it is missing"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"rule": None}, "no rule made it: its command was run by hand"),
        ({"source_digest": "0"}, "it was made by sources of reinduce.data that have changed since"),
        (
            {"modules": ["reinduce.data", "reinduce.metrics.heads"]},
            "it was made by sources of reinduce.data that have changed since",
        ),
        ({"outputs": {}}, "it has no manifest: how it was made cannot be known"),
    ],
)
def test_a_manifest_is_checked_beyond_hashes(made, changed, reason):
    path = made / ONE / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert f"{ONE}/a.txt: {reason}" in faults(made)


def test_strict_refuses_uncommitted_sources(made):
    path = made / ONE / "manifest.json"
    for clean, count in ((True, 0), (False, 1), (None, 1)):
        for other in (path, made / TWO / "manifest.json"):
            content = json.loads(other.read_text()) | {"clean_tree": True if other != path else clean}
            other.write_text(json.dumps(content))
        assert len(faults(made, strict=True)) == count


def test_settings_are_compared_with_the_present_configuration(made):
    name, other = f"{made}/{SETTING}", {f"{made}/results/paper/two/train.json": "{}"}
    assert faults(made, settings={name: "{}"} | other) == []
    assert faults(made, settings={name: "{1}"} | other) == [
        f"{SETTING}: the configuration has changed since it was resolved"
    ]


def test_modules_that_a_stage_found_by_name_are_sources_too(made):
    path = made / ONE / "a.txt"
    plant_manifest("data", [made / SETTING], [path], rule=["first"], modules=["reinduce.metrics.heads"])
    told = json.loads(path.with_name("manifest.json").read_text())
    assert told["modules"] == ["reinduce.data", "reinduce.metrics.heads"]
    assert told["source_digest"] == digest(*told["modules"]) != digest("reinduce.data")
    assert faults(made) == []


def test_a_broken_manifest_is_refused_and_named(made):
    (made / ONE / "manifest.json").write_text("{")
    with pytest.raises(Refused, match="words/manifest.json: not a manifest"):
        faults(made)
    (made / ONE / "manifest.json").write_text('{"outputs": {}, "inputs": {}}')
    with pytest.raises(Refused, match=r"words/manifest.json: not a manifest \(it lacks outputs, inputs or modules\)"):
        faults(made)


def test_a_fault_names_file_reason_and_fix_command(made):
    (made / TWO / "b.txt").write_text("c")
    with pytest.raises(Refused) as refused:
        Chain(made / "results", cli_overrides={"scale": "smoke", "cluster": {"max_gpus_per_node": 2}}).verify(
            [f"{made}/{TWO}/b.txt"]
        )
    assert "evidence is refused, 1 fault:" in str(refused.value)
    fix = """fix it with: snakemake --cores all --config scale=smoke 'cluster={"max_gpus_per_node": 2}' --force -- """
    assert f"{fix}{made}/{TWO}/b.txt" in str(refused.value)


def test_the_tree_has_all_links_and_marks_the_broken_ones(made):
    (made / "notes.py").write_text("x")
    tree = build_tree(Chain(made / "results"), [f"{made}/{TWO}/b.txt"])[0]
    lines = [line.replace(f"{made}/", "") for line in format_tree(tree)]
    assert [line.split(" · ")[0] for line in lines] == [
        "└─ results/paper/two/seed*/train/b.txt",
        f"   ├─ {ONE}/a.txt",
        "   │  ├─ notes.py",
        f"   │  └─ {SETTING}",
        "   └─ results/paper/two/train.json",
    ]
    assert [line.split(" · ")[1] for line in lines] == [
        *("rule second", "rule first", "source"),
        *["from the configuration"] * 2,
    ]
    assert [line.endswith("NOT VERIFIED") for line in lines] == [True, True, False, False, False]
    assert tree.as_dict()["inputs"][0]["rules"] == ["first"]


def test_commands_come_in_the_order_of_the_chain(made):
    for place, stage in enumerate((ONE, TWO)):
        path = made / stage / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"command": f"reinduce {place}", "commit": "abc"}))
    listed = list_commands(Chain(made / "results", cli_overrides={"scale": "smoke"}), f"{made}/{TWO}/b.txt")
    assert listed[0] == "git checkout abc" and listed[-2:] == ["reinduce 0", "reinduce 1"]


def test_seeds_and_steps_share_a_common_name():
    assert common_name("r/s/a/seed12/score/step00000030.parquet") == "r/s/a/seed*/score/step*.parquet"


def test_ages_are_formatted_in_their_largest_unit():
    assert [format_age(s) for s in (5, 300, 3 * 3600, 3 * 86400)] == ["5 s", "5 min", "3 h", "3 days"]


def test_evidence_mixed_from_two_configurations_is_found(made):
    """Two seeds of an arm: one was made again after a setting changed, the other was not."""
    (made / SETTING).write_text("{1}")
    other = made / "results/data/words/more/c.txt"
    write_text(other, "c")
    plant_manifest("data", [made / SETTING], [other], rule=["first"])
    found = Chain(made / "results").find_faults([str(other), f"{made}/{TWO}/b.txt"])
    by_file = {fault.file.removeprefix(f"{made}/"): fault for fault in found}
    mixed = by_file[SETTING]
    assert mixed.reason.startswith("evidence is mixed from two configurations: ")
    assert mixed.reason.endswith("words/a.txt under another") and mixed.fix_command.endswith(f"{ONE}/a.txt")
    assert "under other settings" in by_file[f"{ONE}/a.txt"].reason


def test_a_file_without_a_manifest_is_a_setting_by_its_place_alone(made):
    """A verdict that was written by hand."""
    by_hand = made / "results/claims/paper.made-up.json"
    write_text(by_hand, "{}")
    found = Chain(made / "results").find_faults([str(by_hand), f"{made}/results/paper/two/train.json"])
    assert [fault.reason for fault in found] == ["it has no manifest: how it was made cannot be known"]


def test_a_setting_that_the_configuration_no_longer_has_is_found(made):
    settings = {f"{made}/{SETTING}": "{}"}
    assert faults(made, settings=settings) == ["results/paper/two/train.json: the configuration no longer has it"]


def test_manifests_that_contradict_each_other_are_found(made):
    path = made / ONE / "a.txt"
    path.write_text("z")
    plant_manifest("data", [made / SETTING], [path], made / ONE / "z.manifest.json")
    path.write_text("a")
    expected = f"{ONE}/a.txt: manifests contradict each other about it: manifest.json, z.manifest.json"
    assert faults(made) == [expected]


def test_a_second_manifest_hides_nothing_of_the_first(made):
    """It has the present hash and fewer inputs, and its name comes first."""
    write_text(made / ONE / "a.txt", "z")
    copy = made / TWO / "a.manifest.json"
    plant_manifest("train", [made / "results/paper/two/train.json"], [made / TWO / "b.txt"], copy)
    assert any(fault.startswith(f"{ONE}/a.txt: ") for fault in faults(made))


@pytest.mark.parametrize("foreign", ["notes.py", "results/paper/two/train.json"])
def test_a_ledger_is_made_of_verdicts_alone(made, foreign):
    verdict, ledger = (write_text(made / "results" / name, "{}") for name in ("claims/paper.one.json", "ledger.json"))
    plant_manifest("ledger", [verdict, made / foreign], [ledger], made / "results/ledger.manifest.json")
    reasons = [fault.reason for fault in Chain(made / "results").find_faults([str(ledger)])]
    assert any(reason.endswith("which is not one that such a file is made from") for reason in reasons)


@pytest.mark.parametrize(
    ("command", "inputs", "output", "reason"),
    [
        (
            "score",
            ["train.json"],
            TWO + "/b.txt",
            "is that of `reinduce score`; such files are made by `reinduce train`",
        ),
        ("train", [], TWO + "/b.txt", "names no input paper/two/train.json, without which it cannot be made"),
        ("train", ["train.json"], "results/paper/two/seed0/other/b.txt", "no stage makes a file in this place"),
    ],
)
def test_a_manifest_must_be_that_of_the_stage_and_name_its_inputs(made, command, inputs, output, reason):
    path = write_text(made / output, "b")
    plant_manifest(command, [made / "results/paper/two" / name for name in inputs], [path])
    (fault,) = Chain(made / "results").find_faults([str(path)])
    assert fault.reason.endswith(reason)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.command)
def test_each_place_is_one_of_a_stage(place):
    module, _ = COMMANDS[place.command]
    assert module.startswith(place.module) and stage_module(place.command) == place.module
