"""The two commands make verdicts and a ledger from planted results."""

import argparse
import json

import pytest

from reinduce import tables
from reinduce.judge.claims import judge_claim, read_claim
from reinduce.judge.command import add_judge_arguments, add_ledger_arguments, run_judge, run_ledger
from reinduce.trace.chain import Refused

GOOD = [0.10, 0.12, 0.11, 0.13, 0.09]
BAD = [0.90, 0.92, 0.91, 0.93, 0.89]


def command(add_arguments, run, *arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def judged(tmp_path, make_claim):
    """judged(**changes) judges a claim on planted results and returns the files read and written."""

    def run(name="paper.abrupt", **changes):
        claim = make_claim(**changes)
        given = tmp_path / "claims" / f"{claim['claim']}.claim.json"
        given.parent.mkdir(exist_ok=True)
        given.write_text(json.dumps(claim))
        out = tmp_path / "claims" / f"{claim['study']}.{claim['claim']}.json"
        made = command(add_judge_arguments, run_judge, name, "--claim", given, "--results", tmp_path, "--out", out)
        assert list(made.outputs) == [out]
        return made

    return run


@pytest.mark.parametrize(
    "two, one, expected", [(GOOD, BAD, "holds"), (BAD, GOOD, "fails"), (GOOD, GOOD, "inconclusive")]
)
def test_planted_values_determine_the_verdict(plant, make_claim, two, one, expected):
    plant("two", two)
    row, _ = judge_claim(make_claim(), plant("one", one))
    assert row["verdict"] == expected
    assert row["control_verdict"] == ("fails" if one == BAD else "holds")
    assert (row["reason"] == "the control holds as well") == (expected == "inconclusive")


def test_a_row_holds_its_evidence(plant, judged, tmp_path):
    plant("two", GOOD)
    plant("one", BAD)
    made = judged()
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
    read = {str(path.relative_to(tmp_path)) for path in made.inputs}
    assert read == {"claims/abrupt.claim.json", "paper/one/train.json", "paper/two/train.json"} | {
        f"paper/{arm}/seed{seed}/score/trajectories.parquet" for arm in ("one", "two") for seed in range(5)
    }


def test_scores_are_read_by_the_schedule(plant, make_claim):
    root = plant("two", [0.010, 0.012, 0.011])
    plant("one", [0.090, 0.092, 0.091])
    sql = "SELECT seed, arg_max(value, step) AS value FROM scores WHERE arm = $arm GROUP BY seed"
    claim = make_claim(reads={"scores": ["$arm"]}, evidence=sql, seeds={"paper/two": [0, 1, 2], "paper/one": [0, 1, 2]})
    row, read = judge_claim(claim, root)
    assert row["verdict"] == "holds"
    assert row["values"] == pytest.approx({0: 0.2, 1: 0.24, 2: 0.22})
    assert root / "paper/two/train.json" in read
    assert len(read) == 2 * (1 + 3 * 3)


def test_a_control_may_read_other_tables(plant, make_claim):
    plant("two", GOOD)
    root = plant("one", BAD)
    control = {"with": {"arm": "one"}, "reads": {"trajectories": ["one", "two"]}, "why": "It cannot."}
    row, _ = judge_claim(make_claim(control=control), root)
    assert row["control_reads"] == {"trajectories": ["paper/one", "paper/two"]}
    assert row["verdict"] == "holds"


def test_a_seed_without_a_value_makes_the_claim_inconclusive(plant, make_claim):
    plant("two", [*GOOD[:4], None])
    row, _ = judge_claim(make_claim(), plant("one", BAD))
    assert (row["verdict"], row["reason"], row["n_seeds"]) == ("inconclusive", "not measured for seed 4", 4)
    filtered = make_claim(evidence=make_claim()["evidence"] + " AND value IS NOT NULL")
    assert judge_claim(filtered, plant("one", BAD))[0]["reason"] == "not measured for seed 4"


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
        ({"seeds": {"paper/one": [0]}}, "paper.abrupt: seeds: the claim lists none for paper/two"),
        ({"criterion": {"statistic": "mean", "holds": {"below": 1}, "fails": {"below": 0}, "why": ""}}, "both hold"),
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
    plant("wide", [0.0, 0.9, 0.1, 0.8, 0.4])
    plant("empty", [None] * 5)
    seeds = {f"paper/{arm}": list(range(5)) for arm in ("one", "two", "wide", "empty")}
    for name, arm, number in (("abrupt", "two", "A-02"), ("wide", "wide", "A-01"), ("empty", "empty", "A-01")):
        judged(f"paper.{name}", claim=name, claim_number=number, seeds=seeds, **{"with": {"arm": arm}})
    return [tmp_path / "claims" / f"paper.{name}.json" for name in ("abrupt", "wide", "empty")]


def test_the_ledger_joins_claims_in_order(three, tmp_path):
    made = command(add_ledger_arguments, run_ledger, "--claims", *three, "--out-dir", tmp_path / "ledger")
    table = tables.read_table("ledger", [tmp_path / "ledger/ledger.parquet"]).to_pylist()
    page = json.loads((tmp_path / "ledger/ledger.json").read_text())
    assert [row["claim"] for row in table] == ["empty", "wide", "abrupt"]
    assert [row["verdict"] for row in table] == ["inconclusive", "inconclusive", "holds"]
    assert (page["scale"], page["n_claims"]) == ("smoke", 3)
    assert [{name: claim[name] for name in table[0]} for claim in page["claims"]] == table
    assert table[0]["p_holm"] is None and table[0]["estimate"] is None
    assert table[2]["p_holm"] == pytest.approx(3 * table[2]["p_value"])
    assert table[1]["p_holm"] == pytest.approx(min(1, 2 * table[1]["p_value"]))
    assert list(made.inputs) == three
    assert {path.name for path in made.outputs} == {"ledger.parquet", "ledger.json"}
    assert made.manifest == tmp_path / "ledger/ledger.manifest.json"


def test_equal_ledgers_are_equal_files_whatever_the_order_given(three, tmp_path):
    for folder, claims in (("a", three), ("b", three[::-1])):
        command(add_ledger_arguments, run_ledger, "--claims", *claims, "--out-dir", tmp_path / folder)
    for name in ("ledger.parquet", "ledger.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_repeated_claims_and_mixed_scales_are_refused(three, tmp_path):
    with pytest.raises(ValueError, match="given twice: paper.abrupt"):
        command(add_ledger_arguments, run_ledger, "--claims", *three, three[0], "--out-dir", tmp_path / "ledger")
    three[0].write_text(three[0].read_text().replace('"smoke"', '"laptop"'))
    with pytest.raises(Refused, match="different scales: laptop, smoke"):
        command(add_ledger_arguments, run_ledger, "--claims", *three, "--out-dir", tmp_path / "ledger")
