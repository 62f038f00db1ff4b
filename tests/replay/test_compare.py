"""Two runs side by side, planted: each kind of difference is found, and told for what it is."""

from pathlib import Path

import pytest

from reinduce import tables
from reinduce.config.load import tolerances
from reinduce.config.tree import Tolerance
from reinduce.replay import compare, inventory
from reinduce.replay.compare import ABSENT, DIFFERENT, IDENTICAL, WITHIN, Comparison, compared
from reinduce.replay.inventory import Group, Inventory
from reinduce.replay.told import told

SCORES = "paper/two/seed*/score/step*.parquet"
WEIGHTS = "paper/two/seed*/train/checkpoints/step*.safetensors"
ALLOWED = [Tolerance(metrics=["value of match*"], absolute=0.1, relative=0.0, why="planted")]


def table(digest="a", files=6, **means: float) -> Group:
    return Group("table", files, digest, {f"value of {name}": mean for name, mean in (means or {"match": 0.5}).items()})


def row(claim="abrupt", verdict="holds", estimate=0.5, low=0.4, high=0.6) -> dict:
    more = {"n_seeds": 5, "reason": "", "control_verdict": "fails"}
    return {"study": "paper", "claim": claim, "verdict": verdict, "estimate": estimate, "low": low, "high": high} | more


def run(groups=None, claims=(), seeds=(0, 1)) -> Inventory:
    return Inventory("laptop", {"paper/two": list(seeds)}, groups or {SCORES: table()}, list(claims))


def results(here: dict, there: dict, partial=False) -> dict[str, str]:
    found = compare.artefacts(run(here), run(there), ALLOWED, partial)
    return {one.name: one.result for one in found}


@pytest.mark.parametrize(
    ("here", "expected"),
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
def test_a_table_is_sorted_by_its_metrics_means(here, expected):
    assert results({SCORES: here}, {SCORES: table()}) == {SCORES: expected}


def test_a_metric_without_tolerance_must_be_the_same():
    assert results({SCORES: table("b", odd=1.0)}, {SCORES: table(odd=1.0)}) == {SCORES: WITHIN}
    [one] = compare.artefacts(run({SCORES: table("b", odd=1.001)}), run({SCORES: table(odd=1.0)}), ALLOWED)
    assert one.result == DIFFERENT and "nothing is allowed" in one.why and "1.001 here, 1 there" in one.why


def test_a_table_without_measures_must_be_the_same():
    runs = "paper/two/seed*/train/run.parquet"
    assert results({runs: Group("table", 2, "b")}, {runs: Group("table", 2, "a")}) == {runs: DIFFERENT}


def test_weights_are_sorted_with_what_is_measured_from_them():
    there = {SCORES: table(), WEIGHTS: Group("weights", 6, "a"), "paper/one/seed*/score/step*.parquet": table()}
    other = {WEIGHTS: Group("weights", 6, "b")}
    assert results(there | other, there)[WEIGHTS] == WITHIN
    assert results(there | other | {SCORES: table("b", match=0.9)}, there)[WEIGHTS] == DIFFERENT
    elsewhere = {"paper/one/seed*/score/step*.parquet": table("b", match=0.9)}
    assert results(there | other | elsewhere, there)[WEIGHTS] == WITHIN


def test_what_only_one_of_them_has_is_told_apart():
    assert results({SCORES: table()}, {"x": table()}) == {SCORES: DIFFERENT, "x": ABSENT}
    assert results({SCORES: table()}, {SCORES: table(), "x": table()}, partial=True) == {SCORES: IDENTICAL}


@pytest.mark.parametrize(
    ("here", "expected"),
    [
        (row(), IDENTICAL),
        (row(estimate=0.55), WITHIN),
        (row(estimate=0.65), DIFFERENT),
        (row(verdict="inconclusive", estimate=0.55), DIFFERENT),
        (row(estimate=None), DIFFERENT),
    ],
)
def test_a_verdict_may_move_within_the_others_interval(here, expected):
    [turn] = compare.verdicts(run(claims=[here]), run(claims=[row()]))
    assert turn.result == expected


def test_a_verdict_without_an_interval_has_to_be_of_the_same_number():
    """So it is where all seeds agree."""
    none = {"low": None, "high": None, "verdict": "inconclusive"}
    for estimate, expected in ((1.0, IDENTICAL), (1 - 2e-16, WITHIN), (0.99, DIFFERENT)):
        [turn] = compare.verdicts(run(claims=[row(estimate=estimate, **none)]), run(claims=[row(estimate=1.0, **none)]))
        assert turn.result == expected, estimate


def test_other_seeds_are_asked_for_verdicts_alone():
    there = run(claims=[row(f"c{i}") for i in range(40)] + [row("open", "inconclusive")])
    here = [row(f"c{i}", "fails" if i < 2 else "holds", estimate=9) for i in range(40)] + [row("open")]
    found = compared(run(claims=here, seeds=(7, 8)), there, ALLOWED)
    assert found.other_seeds and found.artefacts == []
    # Two of forty turned: the claim that was undecided is not counted.
    assert compare.stability(found.turns) == (38, 40) and found.agrees
    lines = "\n".join(told(found, Path("results/reference")))
    assert "38 of 41 verdicts are the same on other seeds; of those that hold or fail there, 38 of 40 (95.0%)" in lines
    assert "paper.c0: holds (0.5 [0.4, 0.6]) there, fails (9 [0.4, 0.6]) here" in lines
    here[2] |= {"verdict": "inconclusive"}
    assert not compared(run(claims=here, seeds=(7, 8)), there, ALLOWED).agrees


@pytest.mark.parametrize(("result", "agrees"), [(IDENTICAL, True), (WITHIN, True), (DIFFERENT, False), (ABSENT, False)])
def test_a_run_agrees_if_nothing_differs_beyond_tolerance(result, agrees):
    assert Comparison(run(), run(), [compare.Artefact("x", "table", 1, result, None)], []).agrees is agrees


def test_runs_of_different_scales_are_not_compared():
    with pytest.raises(ValueError, match="one run is at smoke scale, the other at laptop"):
        compared(Inventory("smoke", {}, {}, []), run(), ALLOWED)


def test_means_are_taken_metric_by_metric_over_what_was_scored(tmp_path):
    values = {"match": [1.0, 3.0, None, float("nan")], "copy": [5.0]}
    keys = {"study": "paper", "arm": "two", "seed": 0, "step": 1, "tokens": 1, "layer": 0, "metric_version": 1, "n": 1}
    rows = [
        keys | {"head": head, "metric": name, "value": value}
        for name, listed in values.items()
        for head, value in enumerate(listed)
    ]
    path = tables.write_rows("scores", rows, tmp_path / "scores.parquet")
    assert inventory.means(tables.read_table("scores", [path])) == {"value of copy": 5.0, "value of match": 2.0}


def test_a_reference_is_read_as_it_was_written(tmp_path):
    ledger = tmp_path / "ledger.json"
    ledger.write_text('{"claims": [{"study": "paper"}]}')
    made = Inventory("laptop", {"paper/two": [0, 1]}, {SCORES: table(match=0.123456789123)}, [])
    inventory.write(made, tmp_path / "reference", ledger)
    found = inventory.read(tmp_path / "reference")
    assert found.claims == [{"study": "paper"}] and found.seeds == made.seeds
    assert compare.artefacts(made, found, [])[0].result == IDENTICAL
    (tmp_path / "reference/inventory.json").write_text("{}")
    with pytest.raises(ValueError, match="not a reference"):
        inventory.read(tmp_path / "reference")


def test_every_tolerance_has_its_reason_and_the_first_that_fits_counts():
    allowed = tolerances(Path(__file__).parents[2])
    assert all(len(one.why) > 20 and one.of(1.0) > 0 for one in allowed)
    assert compare.tolerance_of("value of prefix_midpoint", allowed).absolute == 20
    assert compare.tolerance_of("value of prefix_matching", allowed).absolute == 0.02
    assert compare.tolerance_of("value of something_new", allowed) is None
