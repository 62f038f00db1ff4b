"""Small planted chains in which each link is broken."""

import json

import pytest

from reinduce.trace.chain import Chain, Refused
from reinduce.trace.files import write_text
from reinduce.trace.manifest import StageOutputs, write_manifest
from reinduce.trace.sources import digest
from reinduce.trace.tree import build_tree, common_name, format_age, format_tree, list_commands


@pytest.fixture
def made(tmp_path):
    """results/b is made from results/a, which is made from a setting and a source."""

    def path(name: str):
        return tmp_path / "results" / name

    write_text(path("arm.json"), "{}")
    write_text(tmp_path / "notes.py", "print()")
    write_text(path("one/a.txt"), "a")
    write_manifest(
        StageOutputs(path("one/manifest.json"), [path("arm.json"), tmp_path / "notes.py"], [path("one/a.txt")]),
        "reinduce.score.command",
        0.0,
        ["first"],
    )
    write_text(path("two/b.txt"), "b")
    write_manifest(
        StageOutputs(path("two/manifest.json"), [path("one/a.txt")], [path("two/b.txt")]),
        "reinduce.judge",
        0.0,
        ["second", "x"],
    )
    return tmp_path


def faults(root, **options) -> list[str]:
    chain = Chain(root / "results", **options)
    return [
        f"{fault.file.removeprefix(f'{root}/')}: {fault.reason}"
        for fault in chain.find_faults([f"{root}/results/two/b.txt"])
    ]


def test_an_untouched_chain_has_no_fault(made):
    assert faults(made) == []
    Chain(made / "results").verify([f"{made}/results/two/b.txt"])


CHANGED = "it was changed after it was made (its hash differs)"
OTHER = "it was made from another file: {root}/%s differs from the version that was read"
LONGER = "it was changed after it was made: 1 bytes were written, it has 2"
SETTING = "it was made under other settings: {root}/results/arm.json differs from the version that was read"


@pytest.mark.parametrize(
    ("name", "text", "reasons"),
    [
        ("results/two/b.txt", "c", {"two/b.txt": CHANGED}),
        ("results/two/b.txt", "bb", {"two/b.txt": LONGER}),
        ("results/arm.json", "{ }", {"one/a.txt": SETTING}),
        ("notes.py", "x", {"one/a.txt": OTHER % "notes.py"}),
        ("results/one/a.txt", "z", {"two/b.txt": OTHER % "results/one/a.txt", "one/a.txt": CHANGED}),
    ],
)
def test_a_changed_file_is_found_wherever_it_lies(made, name, text, reasons):
    (made / name).write_text(text)
    expected = [f"results/{file}: {reason}".replace("{root}", str(made)) for file, reason in reasons.items()]
    assert faults(made) == expected


def test_missing_files_and_manifests_are_found(made):
    (made / "results/one/manifest.json").unlink()
    assert faults(made) == ["results/one/a.txt: it has no manifest: how it was made cannot be known"]
    (made / "results/one/a.txt").unlink()
    assert faults(made) == ["results/one/a.txt: it is missing"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"rule": None}, "no rule made it: its command was run by hand"),
        ({"source_digest": "0"}, "it was made by sources of reinduce.score.command that have changed since"),
        (
            {"modules": ["reinduce.score.command", "reinduce.metrics.heads"]},
            "it was made by sources of reinduce.score.command that have changed since",
        ),
        ({"outputs": {}}, "it has no manifest: how it was made cannot be known"),
    ],
)
def test_a_manifest_is_checked_beyond_hashes(made, changed, reason):
    path = made / "results/one/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert f"results/one/a.txt: {reason}" in faults(made)


def test_strict_refuses_uncommitted_sources(made):
    path = made / "results/one/manifest.json"
    for clean, count in ((True, 0), (False, 1), (None, 1)):
        for other in (path, made / "results/two/manifest.json"):
            content = json.loads(other.read_text()) | {"clean_tree": True if other != path else clean}
            other.write_text(json.dumps(content))
        assert len(faults(made, strict=True)) == count


def test_settings_are_compared_with_the_present_configuration(made):
    name = f"{made}/results/arm.json"
    assert faults(made, settings={name: "{}"}) == []
    assert faults(made, settings={name: "{1}"}) == [
        "results/arm.json: the configuration has changed since it was resolved"
    ]


def test_modules_that_a_stage_found_by_name_are_sources_too(made):
    path = made / "results/one/a.txt"
    again = StageOutputs(
        path.with_name("manifest.json"), [made / "results/arm.json"], [path], modules=["reinduce.metrics.heads"]
    )
    write_manifest(again, "reinduce.score.command", 0.0, ["first"])
    told = json.loads(path.with_name("manifest.json").read_text())
    assert told["modules"] == ["reinduce.score.command", "reinduce.metrics.heads"]
    assert told["source_digest"] == digest(*told["modules"]) != digest("reinduce.score.command")
    assert faults(made) == []


def test_a_broken_manifest_is_refused_and_named(made):
    (made / "results/one/manifest.json").write_text("{")
    with pytest.raises(Refused, match="one/manifest.json: not a manifest"):
        faults(made)
    (made / "results/one/manifest.json").write_text('{"outputs": {}, "inputs": {}}')
    with pytest.raises(Refused, match=r"one/manifest.json: not a manifest \(it lacks outputs, inputs or modules\)"):
        faults(made)


def test_a_fault_names_file_reason_and_fix_command(made):
    (made / "results/two/b.txt").write_text("c")
    with pytest.raises(Refused) as refused:
        Chain(made / "results", cli_overrides={"scale": "smoke", "cluster": {"max_gpus_per_node": 2}}).verify(
            [f"{made}/results/two/b.txt"]
        )
    assert "evidence is refused, 1 fault:" in str(refused.value)
    fix = """fix it with: snakemake --cores all --config scale=smoke 'cluster={"max_gpus_per_node": 2}' --force -- """
    assert f"{fix}{made}/results/two/b.txt" in str(refused.value)


def test_the_tree_has_all_links_and_marks_the_broken_ones(made):
    (made / "notes.py").write_text("x")
    tree = build_tree(Chain(made / "results"), [f"{made}/results/two/b.txt"])[0]
    lines = [line.replace(f"{made}/", "") for line in format_tree(tree)]
    assert [line.split(" · ")[0] for line in lines] == [
        "└─ results/two/b.txt",
        "   └─ results/one/a.txt",
        "      ├─ notes.py",
        "      └─ results/arm.json",
    ]
    assert [line.split(" · ")[1] for line in lines] == ["rule second", "rule first", "source", "from the configuration"]
    assert [line.endswith("NOT VERIFIED") for line in lines] == [True, True, False, False]
    assert tree.as_dict()["inputs"][0]["rules"] == ["first"]


def test_commands_come_in_the_order_of_the_chain(made):
    for place, stage in enumerate(("one", "two")):
        path = made / f"results/{stage}/manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"command": f"reinduce {place}", "commit": "abc"}))
    listed = list_commands(Chain(made / "results", cli_overrides={"scale": "smoke"}), f"{made}/results/two/b.txt")
    assert listed[0] == "git checkout abc" and listed[-2:] == ["reinduce 0", "reinduce 1"]


def test_seeds_and_steps_share_a_common_name():
    assert common_name("r/s/a/seed12/score/step00000030.parquet") == "r/s/a/seed*/score/step*.parquet"


def test_ages_are_formatted_in_their_largest_unit():
    assert [format_age(s) for s in (5, 300, 3 * 3600, 3 * 86400)] == ["5 s", "5 min", "3 h", "3 days"]


def test_evidence_mixed_from_two_configurations_is_found(made):
    """Two seeds of an arm: one was made again after a setting changed, the other was not."""
    (made / "results/arm.json").write_text("{1}")
    other = made / "results/other/c.txt"
    write_text(other, "c")
    write_manifest(
        StageOutputs(other.with_name("manifest.json"), [made / "results/arm.json"], [other]),
        "reinduce.score",
        0.0,
        ["first"],
    )
    found = Chain(made / "results").find_faults([str(other), f"{made}/results/two/b.txt"])
    by_file = {fault.file.removeprefix(f"{made}/"): fault for fault in found}
    mixed = by_file["results/arm.json"]
    assert mixed.reason.startswith("evidence is mixed from two configurations: ")
    assert mixed.reason.endswith("one/a.txt under another") and mixed.fix_command.endswith("results/one/a.txt")
    assert "under other settings" in by_file["results/one/a.txt"].reason
