"""Two planted runs side by side: each kind of difference is found and classified."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from reinduce import tables
from reinduce.config.declare import Tolerance
from reinduce.replay import compare, inventory
from reinduce.replay.compare import ABSENT, DIFFERENT, IDENTICAL, WITHIN, Comparison, compare_inventories
from reinduce.replay.format_comparison import format_comparison
from reinduce.replay.inventory import Group, Inventory
from reinduce.replay.tolerances import find_tolerance

SCORES = "paper/two/seed*/score/step*.parquet"
WEIGHTS = "paper/two/seed*/train/checkpoints/step*.safetensors"
PLANTED = Tolerance(absolute=0.1, reason="planted")


def ALLOWED(name: str, study: str) -> Tolerance | None:
    """The planted tolerance of `match`, and no other."""
    return PLANTED if name.startswith("value of match") else None


def table(digest="a", files=6, **means: float) -> Group:
    return Group("table", files, digest, {f"value of {name}": mean for name, mean in (means or {"match": 0.5}).items()})


def row(claim="abrupt", verdict="holds", estimate=0.5, ci_low=0.4, ci_high=0.6, first=0) -> dict:
    centre = 0.5 if estimate is None else estimate
    values = {str(first + seed): centre + 0.04 * (seed - 2) for seed in range(5)}
    more = {"n_seeds": 5, "reason": "", "control_verdict": "fails", "criterion": "mean above 0.2", "values": values}
    numbers = {"estimate": estimate, "ci_low": ci_low, "ci_high": ci_high}
    return {"study": "paper", "claim": claim, "verdict": verdict} | numbers | more


def run(groups=None, claims=(), seeds=(0, 1)) -> Inventory:
    return Inventory("laptop", {"paper/two": list(seeds)}, groups or {SCORES: table()}, list(claims))


def results(candidate: dict, reference: dict, partial=False) -> dict[str, str]:
    found = compare.compare_artefacts(run(candidate), run(reference), ALLOWED, partial)
    return {one.name: one.result for one in found}


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (table(), IDENTICAL),
        (table("b"), WITHIN),
        (table("b", match=0.59), WITHIN),
        (table("b", match=0.61), DIFFERENT),
        (table("b", files=5), DIFFERENT),
        (table("b", match=0.5, other=1.0), DIFFERENT),
        (table("b", files=6, other=0.5), DIFFERENT),
    ],
)
def test_a_table_is_classified_by_its_metrics_means(candidate, expected):
    assert results({SCORES: candidate}, {SCORES: table()}) == {SCORES: expected}


def test_a_metric_without_tolerance_must_be_equal():
    assert results({SCORES: table("b", odd=1.0)}, {SCORES: table(odd=1.0)}) == {SCORES: WITHIN}
    [one] = compare.compare_artefacts(run({SCORES: table("b", odd=1.001)}), run({SCORES: table(odd=1.0)}), ALLOWED)
    assert (
        one.result == DIFFERENT and "no difference is allowed" in one.why and "candidate 1.001, reference 1" in one.why
    )


def test_a_table_without_measured_values_must_be_equal():
    runs = "paper/two/seed*/train/run.parquet"
    assert results({runs: Group("table", 2, "b")}, {runs: Group("table", 2, "a")}) == {runs: DIFFERENT}


def test_weights_are_classified_with_the_tables_of_their_arm():
    reference = {SCORES: table(), WEIGHTS: Group("weights", 6, "a"), "paper/one/seed*/score/step*.parquet": table()}
    other = {WEIGHTS: Group("weights", 6, "b")}
    assert results(reference | other, reference)[WEIGHTS] == WITHIN
    assert results(reference | other | {SCORES: table("b", match=0.9)}, reference)[WEIGHTS] == DIFFERENT
    elsewhere = {"paper/one/seed*/score/step*.parquet": table("b", match=0.9)}
    assert results(reference | other | elsewhere, reference)[WEIGHTS] == WITHIN


def test_files_of_one_run_alone_are_distinguished():
    assert results({SCORES: table()}, {"x": table()}) == {SCORES: DIFFERENT, "x": ABSENT}
    assert results({SCORES: table()}, {SCORES: table(), "x": table()}, partial=True) == {SCORES: IDENTICAL}


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (row(), IDENTICAL),
        (row(estimate=0.55), WITHIN),
        (row(estimate=0.65), DIFFERENT),
        (row(verdict="inconclusive", estimate=0.55), DIFFERENT),
        (row(estimate=None), DIFFERENT),
    ],
)
def test_a_verdict_may_move_within_the_references_interval(candidate, expected):
    [change] = compare.compare_verdicts(run(claims=[candidate]), run(claims=[row()]))
    assert change.result == expected


def test_without_an_interval_the_estimates_must_be_equal():
    """There is no interval where all seeds have one value."""
    none = {"ci_low": None, "ci_high": None, "verdict": "inconclusive"}
    for estimate, expected in ((1.0, IDENTICAL), (1 - 2e-16, WITHIN), (0.99, DIFFERENT)):
        [change] = compare.compare_verdicts(
            run(claims=[row(estimate=estimate, **none)]), run(claims=[row(estimate=1.0, **none)])
        )
        assert change.result == expected, estimate


@pytest.mark.parametrize(("estimate", "expected"), [(0.58, WITHIN), (0.62, DIFFERENT)])
def test_on_other_seeds_an_estimate_must_lie_in_the_prediction_interval(estimate, expected):
    """0.5 ± 2.776 · 0.063 · √(1/5 + 1/5)."""
    [change] = compare.compare_verdicts(run(claims=[row(estimate=estimate, first=7)]), run(claims=[row()]))
    assert (change.result, change.replication.pooled) == (expected, pytest.approx((estimate + 0.5) / 2))
    assert change.replication.prediction_high == pytest.approx(0.5 + 2.7764 * 0.0632456 * 0.4**0.5, rel=1e-4)
    lines = format_comparison(Comparison(run(seeds=(7, 8)), run(), [], [change]), Path("x"))
    assert f"{int(expected == WITHIN)} of 1 estimates lie in the reference's 95 % prediction interval." in lines


def test_on_other_seeds_only_verdicts_are_compared():
    reference = run(claims=[row(f"c{i}") for i in range(40)] + [row("open", "inconclusive")])
    candidate = [row(f"c{i}", "fails" if i < 2 else "holds", estimate=9) for i in range(40)] + [row("open")]
    found = compare_inventories(run(claims=candidate, seeds=(7, 8)), reference, ALLOWED)
    assert found.other_seeds and found.artefacts == []
    # Two of forty changed; the claim that was inconclusive is not counted.
    assert compare.count_unchanged(found.verdict_changes) == (38, 40) and found.agrees
    lines = "\n".join(format_comparison(found, Path("results/reference")))
    assert "38 of 41 verdicts are unchanged on other seeds; of those that are decided in the reference, " in lines
    assert " in the reference, 38 of 40 (95.0%)." in lines
    assert "paper.c0: reference holds (0.5 [0.4, 0.6]), candidate fails (9 [0.4, 0.6])" in lines
    candidate[2] |= {"verdict": "inconclusive"}
    assert not compare_inventories(run(claims=candidate, seeds=(7, 8)), reference, ALLOWED).agrees


def test_on_other_seeds_a_claim_that_held_alone_may_hold():
    claims = [row("one", "holds alone"), row("two", "holds"), row("three", "holds alone")]
    candidate = [row("one", "holds", first=7), row("two", "holds alone", first=7), row("three", "fails", first=7)]
    found = compare_inventories(run(claims=candidate, seeds=(7, 8)), run(claims=claims), ALLOWED)
    assert [change.unchanged for change in found.verdict_changes] == [True, True, False]
    same = compare_inventories(run(claims=[row("one", "holds")]), run(claims=[row("one", "holds alone")]), ALLOWED)
    assert not same.verdict_changes[0].unchanged


def test_a_claim_that_was_run_alone_is_compared_by_its_word_alone():
    """Only the ledger, which has all claims of a family, can say that a claim holds within the family's error."""
    own, other = (row(verdict=word) | {"looks": [{"verdict": "holds alone"}]} for word in ("holds alone", "holds"))
    for partial, expected in ((True, IDENTICAL), (False, DIFFERENT)):
        found = compare_inventories(run(claims=[own]), run(claims=[other]), ALLOWED, partial)
        assert found.verdict_changes[0].result == expected


def test_claims_have_the_ledgers_words_and_files_the_seeds_of_the_looks_that_were_taken(tmp_path):
    looks = [{"paper/two": [0, 1]}, {"paper/two": [0, 1, 2]}, {"paper/two": [0, 1, 2, 3]}]
    claims = {f"paper.{name}": {"looks": looks} for name in ("lifted", "stale", "unread")}
    resolved = SimpleNamespace(claims=claims, runs={"paper/two": SimpleNamespace(seeds=range(2))})
    (tmp_path / "claims").mkdir()
    once, twice = [{"look": 1}], [{"look": 1}, {"look": 2}]
    for name, taken in (("lifted", once), ("stale", twice)):
        content = {"study": "paper", "claim": name, "verdict": "holds alone", "looks": taken}
        (tmp_path / f"claims/paper.{name}.json").write_text(json.dumps(content))
    rows = [{"study": "paper", "claim": name, "verdict": "holds", "looks": once} for name in ("lifted", "stale")]
    assert [row["verdict"] for row in inventory._read_claims(resolved, tmp_path)] == ["holds alone"] * 2
    (tmp_path / "ledger.json").write_text(json.dumps({"claims": rows}))
    found = inventory._read_claims(resolved, tmp_path)
    assert [row["verdict"] for row in found] == ["holds", "holds alone"]
    assert inventory._find_seeds(resolved, found) == {"paper/two": [0, 1, 2]}
    assert inventory._find_seeds(resolved, found[:1]) == {"paper/two": [0, 1]}


@pytest.mark.parametrize(("result", "agrees"), [(IDENTICAL, True), (WITHIN, True), (DIFFERENT, False), (ABSENT, False)])
def test_a_run_agrees_if_nothing_differs_beyond_tolerance(result, agrees):
    assert Comparison(run(), run(), [compare.Artefact("x", "table", 1, result, None)], []).agrees is agrees


def test_runs_of_different_scales_are_not_compared():
    with pytest.raises(ValueError, match="the candidate is at smoke scale, the reference at laptop"):
        compare_inventories(Inventory("smoke", {}, {}, []), run(), ALLOWED)


def test_means_are_computed_metric_by_metric_over_finite_values(tmp_path):
    values = {"match": [1.0, 3.0, None, float("nan")], "copy": [5.0]}
    keys = {
        "study": "paper",
        "arm": "two",
        "seed": 0,
        "step": 1,
        "tokens": 1,
        "layer": 0,
        "metric_version": 1,
        "n_items": 1,
    }
    rows = [
        keys | {"head": head, "metric": name, "value": value}
        for name, listed in values.items()
        for head, value in enumerate(listed)
    ]
    path = tables.write_rows("scores", rows, tmp_path / "scores.parquet")
    assert inventory.compute_means(tables.read_table("scores", [path])) == {"value of copy": 5.0, "value of match": 2.0}


def test_a_reference_is_read_as_it_was_written(tmp_path):
    ledger = tmp_path / "ledger.json"
    ledger.write_text('{"claims": [{"study": "paper"}]}')
    made = Inventory("laptop", {"paper/two": [0, 1]}, {SCORES: table(match=0.123456789123)}, [])
    inventory.write_reference(made, tmp_path / "reference", ledger)
    found = inventory.read_reference(tmp_path / "reference")
    assert found.claims == [{"study": "paper"}] and found.seeds == made.seeds
    assert compare.compare_artefacts(made, found, [])[0].result == IDENTICAL
    (tmp_path / "reference/inventory.json").write_text("{}")
    with pytest.raises(ValueError, match="not a reference"):
        inventory.read_reference(tmp_path / "reference")


def test_tolerances_are_those_that_metrics_declare():
    assert find_tolerance("value of prefix_midpoint", "olsson2022").absolute == 20
    assert find_tolerance("baseline of icl_score:112-127/8-13", "olsson2022").absolute == 0.03
    assert find_tolerance("value of induction_strength", "singh2024").absolute == 0.02
    assert find_tolerance("value of induction_strength", "olsson2022") is None, "another study's metric"
    assert find_tolerance("gradient_norm", "olsson2022").relative == 0.05
    assert find_tolerance("value of something_new", "olsson2022") is None
