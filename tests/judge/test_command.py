"""The two commands make verdicts and a ledger from planted results."""

import argparse
import json

import pytest

from reinduce import tables
from reinduce.judge.claims import judge_claim, read_claim
from reinduce.judge.command import (
    add_judge_arguments,
    add_ledger_arguments,
    add_look_arguments,
    run_judge,
    run_ledger,
    run_look,
)
from reinduce.judge.ledger import join_verdicts
from reinduce.trace.chain import Refused
from tests.planted import plant_manifest

GOOD = [0.10, 0.12, 0.11, 0.13, 0.09]
BAD = [0.90, 0.92, 0.91, 0.93, 0.89]


def command(add_arguments, run, *arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


def take_look(name, given, look, results):
    """Take a look and write its manifest, as the command line does."""
    out = results / "looks" / name / f"look{look}.json"
    arguments = ("--claim", given, "--look", look, "--results", results, "--out", out)
    made = command(add_look_arguments, run_look, name, *arguments)
    plant_manifest("look", made.inputs, made.outputs, made.manifest)
    return made


@pytest.fixture
def judged(tmp_path, make_claim):
    """judged(**changes) judges a claim on planted results and returns the files read and written."""

    def run(name="paper.abrupt", **changes):
        claim = make_claim(**changes)
        given = tmp_path / claim["study"] / "claims" / f"{claim['claim']}.json"
        given.parent.mkdir(exist_ok=True, parents=True)
        given.write_text(json.dumps(claim))
        out = tmp_path / "claims" / f"{claim['study']}.{claim['claim']}.json"
        looked = take_look(name, given, 1, tmp_path)
        made = command(add_judge_arguments, run_judge, name, "--claim", given, "--looks", *looked.outputs, "--out", out)
        assert list(made.outputs) == [out]
        plant_manifest("judge", made.inputs, made.outputs, made.manifest)
        return looked, made

    return run


@pytest.mark.parametrize("two, one, expected", [(GOOD, BAD, "holds"), (BAD, GOOD, "fails"), (GOOD, GOOD, "void")])
def test_planted_values_determine_the_verdict(plant, make_claim, two, one, expected):
    plant("two", two)
    row, _ = judge_claim(make_claim(), 1, plant("one", one))
    assert row["verdict"] == expected
    assert row["control_verdict"] == ("fails" if one == BAD else "holds")
    assert (row["reason"] == "the control holds as well") == (expected == "void")


def test_a_row_holds_its_evidence(plant, judged, tmp_path):
    plant("two", GOOD)
    plant("one", BAD)
    looked, made = judged()
    row = json.loads((tmp_path / "claims/paper.abrupt.json").read_text())
    assert set(tables.schema("ledger").names) <= set(row)
    assert row["values"] == {str(seed): value for seed, value in enumerate(GOOD)}
    assert row["control_values"] == {str(seed): value for seed, value in enumerate(BAD)}
    assert (row["reads"], row["control_reads"]) == (
        {"trajectories": ["paper/two"]},
        {"trajectories": ["paper/one"]},
    )
    assert row["criterion"] == "mean below 0.3 (fails above 0.7)"
    assert row["control"] == "arm = one: It cannot."
    assert row["source"] == "paper, Section 1"
    assert row["ci_low"] < row["estimate"] < row["ci_high"] < row["control_ci_low"] < row["control_estimate"]
    assert made.manifest == tmp_path / "claims/paper.abrupt.manifest.json"
    assert {str(path.relative_to(tmp_path)) for path in made.inputs} == {
        "paper/claims/abrupt.json",
        "looks/paper.abrupt/look1.json",
    }
    read = {str(path.relative_to(tmp_path)) for path in looked.inputs}
    assert read == {"paper/claims/abrupt.json", "paper/one/train.json", "paper/two/train.json"} | {
        f"paper/{arm}/seed{seed}/score/trajectories.parquet" for arm in ("one", "two") for seed in range(5)
    }


def test_scores_are_read_by_the_schedule(plant, make_claim):
    root = plant("two", [0.005, 0.007, 0.006])
    plant("one", [0.090, 0.092, 0.091])
    sql = "SELECT seed, arg_max(value, step) AS value FROM scores WHERE arm = $arm GROUP BY seed"
    claim = make_claim(
        reads={"scores": ["$arm"]}, evidence=sql, looks=[{"paper/two": [0, 1, 2], "paper/one": [0, 1, 2]}]
    )
    row, read = judge_claim(claim, 1, root)
    assert row["verdict"] == "holds"
    assert row["values"] == pytest.approx({0: 0.1, 1: 0.14, 2: 0.12})
    assert root / "paper/two/train.json" in read
    assert len(read) == 2 * (1 + 3 * 3)


def test_a_seed_without_a_value_makes_the_claim_inconclusive(plant, make_claim):
    plant("two", [*GOOD[:4], None])
    row, _ = judge_claim(make_claim(), 1, plant("one", BAD))
    assert (row["verdict"], row["reason"], row["n_seeds"]) == ("inconclusive", "not measured for seed 4", 4)
    filtered = make_claim(evidence=make_claim()["evidence"] + " AND value IS NOT NULL")
    assert judge_claim(filtered, 1, plant("one", BAD))[0]["reason"] == "not measured for seed 4"


def test_equal_evidence_makes_equal_bytes(plant, judged, tmp_path):
    plant("two", GOOD)
    plant("one", [*BAD[:4], None])
    out = tmp_path / "claims/paper.abrupt.json"
    judged()
    first = out.read_bytes()
    out.unlink()
    judged()
    assert out.read_bytes() == first
    assert b"NaN" not in first and b'"4": null' in first


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"study": "other"}, "is claim other.abrupt, not paper.abrupt"),
        ({"evidence": "SELECT seed, value FROM runs"}, "paper.abrupt: evidence: .*runs"),
        ({"looks": [{"paper/one": [0]}]}, "paper.abrupt: looks: the claim lists no seeds of paper/two"),
        ({"looks": []}, "paper.abrupt: looks: the claim has 0, not 1"),
        (
            {"criterion": {"statistic": "median", "holds": {"below": 1}, "fails": {"below": 0}, "why": ""}},
            "both hold",
        ),
    ],
)
def test_a_wrong_claim_is_one_error(plant, judged, changes, complaint):
    plant("two", GOOD)
    plant("one", BAD)
    with pytest.raises(ValueError, match=complaint):
        judged(**changes)


def test_the_error_names_missing_keys(tmp_path, make_claim):
    claim = make_claim()
    del claim["unit"]
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    with pytest.raises(ValueError, match="claim.json: the claim lacks unit"):
        read_claim(tmp_path / "claim.json")


@pytest.fixture
def three(plant, judged, tmp_path):
    """Three judged claims: one holds, one is inconclusive, one could not be measured."""
    plant("two", GOOD)
    plant("one", BAD)
    plant("wide", [0.3, 0.35, 0.25, 0.3, 0.32])
    plant("empty", [None] * 5)
    looks = [{f"paper/{arm}": list(range(5)) for arm in ("one", "two", "wide", "empty")}]
    for name, arm, number in (("abrupt", "two", "A-02"), ("wide", "wide", "A-01"), ("empty", "empty", "A-01")):
        judged(f"paper.{name}", claim=name, claim_number=number, looks=looks, **{"with": {"arm": arm}})
    return [tmp_path / "claims" / f"paper.{name}.json" for name in ("abrupt", "wide", "empty")]


def test_the_ledger_joins_claims_in_order(three, tmp_path):
    made = command(add_ledger_arguments, run_ledger, "--claims", *three, "--out-dir", tmp_path)
    table = tables.read_table("ledger", [tmp_path / "ledger.parquet"]).to_pylist()
    page = json.loads((tmp_path / "ledger.json").read_text())
    assert [row["claim"] for row in table] == ["empty", "wide", "abrupt"]
    assert [row["verdict"] for row in table] == ["inconclusive", "inconclusive", "holds"]
    assert (page["scale"], page["n_claims"]) == ("smoke", 3)
    assert [{name: claim[name] for name in table[0]} for claim in page["claims"]] == table
    assert table[0]["p_holm"] is None and table[0]["estimate"] is None
    assert table[2]["p_holm"] == pytest.approx(3 * table[2]["p_value"])
    assert table[1]["p_holm"] == pytest.approx(min(1, 2 * table[1]["p_value"]))
    assert {row["family"] for row in table} == {"Section 1"}
    assert list(made.inputs) == three
    assert {path.name for path in made.outputs} == {"ledger.parquet", "ledger.json"}
    assert made.manifest == tmp_path / "ledger.manifest.json"


def test_equal_ledgers_are_equal_files_whatever_the_order_given(three, tmp_path):
    made = []
    for claims in (three, three[::-1]):
        command(add_ledger_arguments, run_ledger, "--claims", *claims, "--out-dir", tmp_path)
        made.append([(tmp_path / name).read_bytes() for name in ("ledger.parquet", "ledger.json")])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "place", ["results/paper/claims/evil.json", "results/evil.json", "elsewhere/claims/paper.evil.json"]
)
def test_a_verdict_written_by_hand_is_refused_wherever_it_lies(three, tmp_path, place):
    """Where settings are, and outside of the results, files need no manifest."""
    results = tmp_path / "results"
    evil = tmp_path / place
    evil.parent.mkdir(parents=True, exist_ok=True)
    evil.write_text(json.dumps(json.loads(three[0].read_text()) | {"claim": "evil", "verdict": "holds"}))
    with pytest.raises(ValueError, match="evil.json: `reinduce judge` makes no such file in"):
        command(add_ledger_arguments, run_ledger, "--claims", evil, "--out-dir", results)
    assert not (results / "ledger.json").exists()


def test_repeated_claims_and_mixed_scales_are_refused(three, tmp_path):
    with pytest.raises(ValueError, match="given twice: paper.abrupt"):
        command(add_ledger_arguments, run_ledger, "--claims", *three, three[0], "--out-dir", tmp_path)
    three[0].write_text(three[0].read_text().replace('"smoke"', '"laptop"'))
    plant_judged(tmp_path, three[0])
    with pytest.raises(Refused, match="different scales: laptop, smoke"):
        command(add_ledger_arguments, run_ledger, "--claims", *three, "--out-dir", tmp_path)


def plant_judged(root, verdict, *left_out):
    """Write a verdict's manifest, with the inputs that its stage reads but for those left out."""
    name = verdict.stem.split(".")[1]
    inputs = [root / f"paper/claims/{name}.json", root / f"looks/{verdict.stem}/look1.json"]
    inputs = [one for one in inputs if one.name not in left_out]
    plant_manifest("judge", inputs, [verdict], verdict.with_suffix(".manifest.json"))


def test_a_verdict_whose_manifest_names_no_look_is_refused(three, tmp_path):
    three[1].write_text(three[1].read_text().replace('"inconclusive"', '"holds"'))
    plant_judged(tmp_path, three[1], "look1.json")
    with pytest.raises(Refused, match=r"names no input looks/paper.wide/look\*.json"):
        command(add_ledger_arguments, run_ledger, "--claims", *three, "--out-dir", tmp_path)


def test_a_look_whose_manifest_names_no_table_is_refused(three, tmp_path):
    look = tmp_path / "looks/paper.wide/look1.json"
    look.write_text(look.read_text().replace('"inconclusive"', '"holds"'))
    claim = tmp_path / "paper/claims/wide.json"
    plant_manifest("look", [claim], [look], look.with_suffix(".manifest.json"))
    with pytest.raises(Refused, match=r"names no input \*.parquet"):
        command(add_judge_arguments, run_judge, "paper.wide", "--claim", claim, "--looks", look, "--out", three[1])


LOOKS = [{"paper/two": list(range(n)), "paper/one": list(range(n))} for n in (3, 5, 8)]


@pytest.fixture
def look_on(tmp_path, make_claim):
    """look_on(look) takes a look at a claim with three looks; returns its row."""
    given = tmp_path / "paper/claims/abrupt.json"
    given.parent.mkdir(parents=True)
    given.write_text(json.dumps(make_claim(looks=LOOKS)))

    def run(look: int) -> dict:
        (out,) = take_look("paper.abrupt", given, look, tmp_path).outputs
        return json.loads(out.read_text())

    return run


def judge_looks(tmp_path, *looks: int) -> dict:
    files = [tmp_path / f"looks/paper.abrupt/look{look}.json" for look in looks]
    out = tmp_path / "claims/paper.abrupt.json"
    command(
        add_judge_arguments,
        run_judge,
        "paper.abrupt",
        "--claim",
        tmp_path / "paper/claims/abrupt.json",
        "--looks",
        *files,
        "--out",
        out,
    )
    return json.loads(out.read_text())


def test_seeds_are_added_until_the_claim_is_decided(plant, look_on, tmp_path, caplog):
    caplog.set_level("INFO")
    plant("one", [0.9] * 8)
    plant("two", [0.25, 0.25, 0.25, 0.21, 0.2, 0.2, 0.2, 0.2])
    first, second = look_on(1), look_on(2)
    assert (first["verdict"], first["is_open"], first["n_seeds"]) == ("inconclusive", True, 3)
    assert "seeds are added: paper/two: 3, 4; paper/one: 3, 4" in caplog.text
    assert (second["verdict"], second["is_open"], second["n_seeds"]) == ("holds", False, 5)
    judged = judge_looks(tmp_path, 1, 2)
    assert [(look["n_seeds"], look["verdict"]) for look in judged["looks"]] == [(3, "inconclusive"), (5, "holds")]
    assert judged["verdict"] == "holds" and judged["values"].keys() == {"0", "1", "2", "3", "4"}


def test_the_last_look_ends_whatever_it_finds(plant, look_on, tmp_path):
    plant("one", [0.9] * 8)
    plant("two", [0.29] * 8)
    assert [look_on(look)["is_open"] for look in (1, 2, 3)] == [True, True, False]
    assert judge_looks(tmp_path, 1, 2, 3)["verdict"] == "inconclusive"


@pytest.mark.parametrize("looks", [(1,), (2, 3), (1, 3), (1, 2, 2)])
def test_looks_are_judged_only_in_order_and_to_their_end(plant, look_on, tmp_path, looks):
    plant("one", [0.9] * 8)
    plant("two", [0.29] * 8)
    for look in (1, 2, 3):
        look_on(look)
    with pytest.raises(ValueError, match=r"paper.abrupt: (the looks are not|looks must go on)"):
        judge_looks(tmp_path, *looks)


def test_what_no_further_seed_changes_is_not_open(plant, look_on):
    plant("one", [0.9] * 8)
    plant("two", [0.29, None, *[0.29] * 6])
    unmeasured = look_on(1)
    assert (unmeasured["reason"], unmeasured["is_open"]) == ("not measured for seed 1", False)
    plant("two", [0.1] * 8)
    plant("one", [0.1] * 8)
    held_by_both = look_on(1)
    assert (held_by_both["verdict"], held_by_both["is_open"]) == ("void", False)
    plant("one", [0.29] * 8)
    undecided_control = look_on(1)
    assert (undecided_control["verdict"], undecided_control["is_open"]) == ("void", True)


def test_the_ledger_corrects_within_a_family_alone(plant, make_claim):
    plant("two", GOOD)
    row, _ = judge_claim(make_claim(family_size=10**9), 1, plant("one", BAD))
    assert row["verdict"] == "holds alone"
    alone = row["reason"]
    row |= {"family_size": 4}
    others = [row | {"claim": f"other{i}", "p_value": 0.9, "verdict": "inconclusive"} for i in range(3)]
    elsewhere = [one | {"claim": f"else{i}", "family": "Section 2"} for i, one in enumerate(others)]
    joined = {one["claim"]: one for one in join_verdicts([row, *others, *elsewhere])}
    assert joined["abrupt"]["p_holm"] == pytest.approx(4 * row["p_value"])
    assert (joined["abrupt"]["verdict"], joined["abrupt"]["reason"]) == ("holds", "the mean is shown to be below 0.3")
    assert joined["else0"]["p_holm"] == 1
    assert "for this claim alone" in alone
    (part,) = join_verdicts([row | {"family_size": 10**4}])
    assert part["verdict"] == "holds alone", "the rest of its family counts though it is not in the ledger"
    many = [row | {"claim": f"other{i}", "p_value": 0.9, "verdict": "inconclusive"} for i in range(5)]
    assert {one["verdict"] for one in join_verdicts([row | {"p_value": 0.01}, *many])} == {
        "holds alone",
        "inconclusive",
    }
