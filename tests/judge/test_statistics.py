"""Evidence, intervals and verdicts: hand-worked capitals, exact enumeration, and properties of any seeds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinduce.judge.criteria import Criterion, SeedLaw, Threshold, read_criterion
from reinduce.judge.statistics import (
    ERROR,
    capital,
    confidence_interval,
    holm_correction,
    is_beyond,
    min_seeds,
    p_value,
)
from reinduce.judge.verdicts import (
    Verdict,
    apply_control,
    apply_family,
    is_open,
    judge_seeds,
    leave_each_out,
    lift_to_family,
    note_scatter,
)

BELOW = Criterion(SeedLaw("mean", deviation=0.05), Threshold("below", 0.3), Threshold("above", 0.7))
MEDIAN = Criterion(SeedLaw("median"), Threshold("above", 0.5), Threshold("below", 0.2))
SHARE = Criterion(SeedLaw("share", (0, 1)), Threshold("above", 0.7), Threshold("below", 0.3))
LIMITED = Criterion(SeedLaw("mean", (0, 1)), Threshold("above", 0.5), Threshold("below", 0.2))
BOTH = Criterion(SeedLaw("mean", (0, 1), 0.15), Threshold("above", 0.5), Threshold("below", 0.2))
CRITERIA = {"deviation": BELOW, "median": MEDIAN, "share": SHARE, "range": LIMITED, "both": BOTH}
LAWS = {name: criterion.law for name, criterion in CRITERIA.items()}
ABOVE_HALF = Threshold("above", 0.5)


def judge(values, criterion=BELOW, seeds=None):
    return judge_seeds(dict(enumerate(values)), range(len(values)) if seeds is None else seeds, criterion)


def test_capitals_by_hand():
    # Half of the capital is doubled six times; two quarters grow by 1.8 and by 1.6.
    six = 0.5 * 2**6 + 0.25 * 1.8**6 + 0.25 * 1.6**6
    assert capital([1] * 6, SeedLaw("median"), ABOVE_HALF) == pytest.approx(six)
    assert capital([1] * 6, SeedLaw("share", (0, 1)), ABOVE_HALF) == pytest.approx(six)
    # A seed on the other side takes the first half; the largest capital so far is kept.
    assert capital([0] + [1] * 6, SeedLaw("median"), ABOVE_HALF) == pytest.approx(
        0.25 * 0.2 * 1.8**6 + 0.25 * 0.4 * 1.6**6
    )
    assert capital([1] * 6 + [0], SeedLaw("median"), ABOVE_HALF) == pytest.approx(six)
    # Two deviations beyond: y = 3 and 1.2.
    two = 0.7 * (1 + 3 + 4.5) / (1 + 1.5**2 / 2) + 0.3 * (1 + 1.2 + 0.72) / (1 + 0.6**2 / 2)
    assert capital([0.9], SeedLaw("mean", deviation=0.2), ABOVE_HALF) == pytest.approx(two)
    assert capital([0.1], SeedLaw("mean", deviation=0.2), Threshold("below", 0.5)) == pytest.approx(two)
    # A stake of 1 risks all that can be lost, here 0.8.
    assert capital([1.0], SeedLaw("mean", (0, 1)), Threshold("above", 0.8)) == pytest.approx(
        0.5 * 1.25 + 0.25 * 1.2 + 0.25 * 1.15
    )
    assert capital([0.0], SeedLaw("mean", (0, 1)), ABOVE_HALF) == 1


TWO_POINTS = [
    # probability of the first value, the two values: all with a mean of 0.5 within 0 and 1
    (0.5, 0.0, 1.0),
    (0.5, 0.4, 0.6),
    (0.1, 0.05, 0.55),
    (0.9, 0.45, 0.95),
    (0.02, 0.01, 0.51),
    (0.98, 0.49, 0.99),
    (0.8, 0.375, 1.0),
]


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("law", ["range", "deviation"])
@pytest.mark.parametrize(("share", "one", "other"), TWO_POINTS)
def test_the_exact_error_of_two_valued_seeds_is_at_most_the_stated_one(share, one, other, law, side):
    """Every outcome of twelve seeds, with its probability; two values are the worst that a mean and a spread allow."""
    n, deviation = 12, abs(other - one) * (share * (1 - share)) ** 0.5
    seed_law = LAWS["range"] if law == "range" else SeedLaw("mean", deviation=deviation)
    outcomes = np.array(list(itertools.product((False, True), repeat=n)))
    chances = np.where(outcomes, share, 1 - share).prod(axis=1)
    largest = capital(np.where(outcomes, one, other), seed_law, Threshold(side, 0.5))
    assert chances.sum() == pytest.approx(1)
    assert chances[largest >= 1 / ERROR].sum() <= ERROR


@pytest.mark.parametrize(("n", "beyond", "decides"), [(5, 5, False), (6, 6, True), (12, 11, True), (16, 14, True)])
def test_how_many_seeds_decide_a_median(n, beyond, decides):
    values = [0.4] * (n - beyond) + [0.6] * beyond
    assert is_beyond(values, SeedLaw("median"), ABOVE_HALF) == decides


@pytest.mark.parametrize(("n", "gap"), [(3, 1.9), (5, 1.3), (8, 1.0), (12, 0.8), (20, 0.7)])
def test_how_far_beyond_decides_a_mean_with_a_known_deviation(n, gap):
    law = SeedLaw("mean", deviation=0.1)
    assert is_beyond([0.5 + 0.1 * gap] * n, law, ABOVE_HALF)
    assert not is_beyond([0.5 + 0.1 * (gap - 0.1)] * n, law, ABOVE_HALF)


def test_a_value_on_the_threshold_is_not_beyond_it_however_it_was_computed():
    for value in (0.3, 0.1 + 0.2, 0.3 * (1 + 1e-15)):
        assert capital([value] * 50, SeedLaw("median"), Threshold("above", 0.3)) == 1
        assert capital([value] * 50, SeedLaw("mean", deviation=1e-6), Threshold("above", 0.3)) == 1
    assert capital([0.1 + 0.2 - 0.3] * 50, SeedLaw("median"), Threshold("above", 0)) == 1
    assert capital([0.001] * 50, SeedLaw("median"), Threshold("above", 0)) > 40


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_an_interval_ends_where_seeds_no_longer_decide(law):
    generator = np.random.default_rng(1)
    for n in (6, 9, 20):
        values = generator.beta(5, 2, n)
        values = [float(v > 0.4) for v in values] if law.statistic == "share" else (values / 4).tolist()
        low, high = confidence_interval(values, law)
        for inside, outside, side in ((low + 1e-9, low - 1e-9, "above"), (high - 1e-9, high + 1e-9, "below")):
            is_open = not law.value_range[0] < outside < law.value_range[1]
            assert not is_beyond(values, law, Threshold(side, inside))
            assert is_open or is_beyond(values, law, Threshold(side, outside))


def test_intervals_stay_within_the_range_whether_seeds_agree_or_not():
    law = SeedLaw("mean", (0, 1), 0.2)
    for values in ([1.0] * 5, [0.97, 1.0, 0.95, 1.0, 1.0], [0.0] * 5, [0.5] * 5):
        low, high = confidence_interval(values, law)
        assert 0 <= low <= np.mean(values) <= high <= 1
    distance = SeedLaw("mean", (0, math.inf), 0.2)
    for values in ([0.02, 0.05, 0.01, 0.04, 0.03], [0.0] * 5):
        low, high = confidence_interval(values, distance)
        assert low == 0 <= np.mean(values) < high < 0.3
    assert confidence_interval([1, 2, 3, 4, 5, 6], SeedLaw("median")) == (1, 6)
    assert confidence_interval([1, 2, 3, 4, 5], SeedLaw("median")) is None
    assert confidence_interval([], SeedLaw("mean", deviation=1.0)) is None


def test_how_many_seeds_a_decision_needs_at_least():
    assert min_seeds(SeedLaw("share", (0, 1)), Threshold("above", 0.7)) == 12
    assert min_seeds(SeedLaw("share", (0, 1)), Threshold("below", 0.7)) == 4
    assert min_seeds(SeedLaw("median"), ABOVE_HALF) == 6
    assert min_seeds(SeedLaw("mean", deviation=0.1), ABOVE_HALF) == 3
    assert min_seeds(SeedLaw("mean", (0, 1)), Threshold("above", 0.999), most=50) is None


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.10, 0.12, 0.11, 0.13, 0.09], "holds"),
        ([0.90, 0.92, 0.91, 0.93, 0.89], "fails"),
        ([0.50, 0.52, 0.51, 0.53, 0.49], "in between"),
        ([0.25, 0.32, 0.30, 0.28, 0.20], "inconclusive"),
    ],
)
def test_the_seeds_decide(values, expected):
    judged = judge(values)
    assert judged.verdict == expected
    assert judged.ci_low < judged.estimate < judged.ci_high
    assert judged.n_seeds == 5


def test_equal_seeds_decide_as_those_that_nearly_agree():
    """Five seeds at exactly 1 were undecided, five of which one was a little lower held; and so below 0.1."""
    above = Criterion(SeedLaw("mean", (0, 1), 0.005), Threshold("above", 0.99), Threshold("below", 0.9))
    assert [judge(v, above).verdict for v in ([1.0] * 5, [0.998, 1, 1, 1, 1])] == ["holds", "holds"]
    below = Criterion(SeedLaw("mean", (0, 1), 0.04), Threshold("below", 0.1), Threshold("above", 0.5))
    assert [judge(v, below).verdict for v in ([0.0] * 5, [0, 0, 0, 0, 1 / 9])] == ["holds", "holds"]


@pytest.mark.parametrize(
    ("values", "criterion"),
    [
        ([0.1] * 5 + [0.9] * 5, BELOW),
        ([0.2] * 5 + [0.4] * 20, BELOW),
        ([0.9] * 6 + [0.3] * 30, MEDIAN),
    ],
)
def test_seeds_that_show_two_sides_of_a_number_decide_nothing_and_ask_for_no_more(values, criterion):
    judged = judge(values, criterion)
    assert (judged.verdict, judged.reason[:29]) == ("inconclusive", "the seeds contradict each oth")
    assert not is_open(judged, judge([0.9] * 5))
    assert judged.ci_low is None


def test_a_verdict_does_not_contradict_its_own_estimate():
    values = [0.2] * 5 + [0.32] * 9
    assert is_beyond(values, BELOW.law, BELOW.holds)
    assert judge(values[:10]).verdict == "holds"
    assert judge([*values, 0.34, 0.34]).estimate > 0.285
    late = judge([0.2] * 3 + [0.31] * 40)
    assert (late.verdict, late.estimate > 0.3) == ("inconclusive", True)
    drifting = judge([0.9] * 6 + [0.3] * 10, MEDIAN)
    assert (drifting.verdict, drifting.estimate, drifting.ci_low) == ("inconclusive", 0.3, None)


def test_too_few_seeds():
    judged = judge([0.1, 0.1])
    assert (judged.verdict, judged.reason) == ("inconclusive", "2 seeds are too few: at least 3 are needed")
    assert judge([], seeds=()).estimate is None
    few = judge([1] * 3, SHARE)
    assert few.reason == "3 seeds are too few, whatever their values: at least 12 to be above 0.7, 12 to be below 0.3"
    assert judge([1] * 12, SHARE).verdict == "holds" and judge([0] * 12, SHARE).verdict == "fails"
    with pytest.raises(ValueError, match="a share needs the value 0 or 1 of each seed"):
        judge([1, 0.5, 1], SHARE)
    with pytest.raises(ValueError, match="between 0 and 1, but the seeds have"):
        judge([0.5, 0.5, 1.5], LIMITED)


def test_unmeasured_seeds_are_named():
    judged = judge_seeds({0: 0.1, 1: 0.11, 2: None, 3: 0.1, 4: 0.09}, range(6), BELOW)
    assert (judged.verdict, judged.reason) == ("inconclusive", "not measured for seeds 2, 5")
    assert judged.estimate == pytest.approx(0.1)
    assert (judged.n_seeds, judged.p_value) == (4, None)


def test_values_of_seeds_that_nobody_trained_are_refused():
    with pytest.raises(ValueError, match="seeds that not all of its arms have: seeds 3, 4"):
        judge([0.1] * 5, seeds=range(3))
    with pytest.raises(ValueError, match="and 992 more"):
        judge([0.1] * 1003, seeds=range(3))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_was_not_measured(value):
    found = judge([0.1, 0.1, 0.1, value])
    assert (found.verdict, found.reason, found.n_seeds) == ("inconclusive", "not measured for seed 3", 3)


def test_rounding_does_not_put_a_control_beyond_a_threshold():
    holds, values = judge([0.1, 0.11, 0.12]), [0.29999999999999993] * 5
    assert not BELOW.holds.is_met_by(values[0]) and BELOW.holds.is_met_by(0.2999)
    assert apply_control(holds, judge(values), values, BELOW) == holds


def test_a_control_that_holds_voids_the_claim():
    low, high = [0.1, 0.11, 0.12], [0.9, 0.91, 0.92]
    holds, fails = judge(low), judge(high)
    assert apply_control(holds, fails, high, BELOW) == holds
    void = apply_control(holds, holds, low, BELOW)
    assert (void.verdict, void.reason) == ("void", "the control holds as well")
    assert void.estimate == holds.estimate
    assert apply_control(fails, holds, low, BELOW) == fails


def test_an_undecided_control_voids_the_claim_if_all_its_seeds_meet_the_criterion():
    holds, values = judge([0.1, 0.11, 0.12]), [0.25, 0.29, 0.25, 0.29, 0.28]
    control = judge(values)
    assert control.verdict == "inconclusive"
    void = apply_control(holds, control, values, BELOW)
    assert void.verdict == "void" and void.reason == "all 5 seeds of the control lie below 0.3 as well"
    assert apply_control(holds, control, [*values, 0.3], BELOW) == holds


@pytest.mark.parametrize(
    ("values", "which"), [([0.9, None, 0.9], "1 of 3 seeds"), ([None] * 3, "any seed"), ([], "any seed")]
)
def test_a_control_that_was_not_measured_voids_the_claim(values, which):
    holds = judge([0.1, 0.11, 0.12])
    void = apply_control(holds, judge(values, seeds=range(3)), values, BELOW)
    assert (void.verdict, void.reason) == ("void", f"the control was not measured for {which}")


def test_a_verdict_that_rests_on_one_seed_is_found():
    values = dict(enumerate([0.2, 0.2, 0.2, 0.2, 0.26]))
    assert set(leave_each_out(values, BELOW).values()) == {"holds"}
    resting = dict(enumerate([0.26, 0.26, -0.05, 0.26]))
    assert judge_seeds(resting, resting, BELOW).verdict == "holds"
    assert leave_each_out(resting, BELOW) == {0: "holds", 1: "holds", 2: "inconclusive", 3: "holds"}


def test_a_claim_that_holds_only_by_itself_says_so():
    holds = judge([0.1, 0.11, 0.12])
    assert apply_family(holds, 1) == holds
    most = int(ERROR / holds.p_value)
    assert apply_family(holds, most).verdict == "holds"
    alone = apply_family(holds, most + 1)
    assert (alone.verdict, alone.estimate) == ("holds alone", holds.estimate)
    assert alone.reason == f"for this claim alone, {holds.reason}; {most + 1} claims of its family share the error"
    fails = judge([0.9, 0.91, 0.92])
    assert apply_family(fails, 1000) == fails
    assert lift_to_family(f"{alone.reason}; seeds scatter") == f"{holds.reason}; seeds scatter"


def test_seeds_that_scatter_more_than_declared_are_told():
    values = [0.1, 0.1, 0.0, 0.11]
    near, wide = judge(values), judge([0.1, -0.1, 0.0, -0.2])
    assert (near.verdict, wide.verdict) == ("holds", "holds")
    assert note_scatter(near, [*values, None], BELOW).reason.endswith(
        "; seeds scatter by 0.052, more than the 0.05 declared"
    )
    assert note_scatter(near, values[:2], BELOW) == near
    told = note_scatter(wide, [0.1, -0.1, 0.0, -0.2], BELOW)
    assert told.verdict == "holds" and told.reason.endswith("; seeds scatter by 0.13, more than the 0.05 declared")
    # A range cannot be wrong in this way.
    assert note_scatter(near, [0.0, 1.0], LIMITED) == near


RANKS = {"fails": 0, "in between": 1, "inconclusive": 1, "holds": 2}
SEEDS = {
    "deviation": st.floats(-0.5, 1.5),
    "median": st.floats(-2, 2),
    "share": st.sampled_from([0.0, 1.0]),
    "range": st.floats(0, 1),
    "both": st.floats(0, 1),
}


@pytest.mark.parametrize("name", CRITERIA)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_seed_that_moves_further_beyond_never_weakens_a_verdict(name, data):
    criterion = CRITERIA[name]
    values = data.draw(st.lists(SEEDS[name], min_size=3, max_size=20))
    place = data.draw(st.integers(0, len(values) - 1))
    moved = data.draw(SEEDS[name])
    up = criterion.holds.side == "above"
    moved = max(moved, values[place]) if up else min(moved, values[place])
    before = judge(values, criterion)
    after = judge([*values[:place], moved, *values[place + 1 :]], criterion)
    assert RANKS[before.verdict] <= RANKS[after.verdict]
    assert after.p_value <= before.p_value * (1 + 1e-9)


@pytest.mark.parametrize("name", CRITERIA)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_further_seed_that_agrees_never_weakens_a_verdict(name, data):
    criterion = CRITERIA[name]
    values = data.draw(st.lists(SEEDS[name], min_size=3, max_size=20))
    added = data.draw(SEEDS[name].filter(criterion.holds.is_met_by))
    before, after = judge(values, criterion), judge([*values, added], criterion)
    assert RANKS[before.verdict] <= RANKS[after.verdict]
    assert after.p_value <= before.p_value * (1 + 1e-9)


def test_holm_by_hand():
    # 4 × 0.005, 3 × 0.01, 2 × 0.03, then 0.04 raised to the one before.
    assert holm_correction([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_claims_without_a_p_value():
    assert holm_correction([0.01, None, 0.5]) == [pytest.approx(0.03), None, 1.0]
    assert holm_correction([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"statistic": "mode"},
        {"holds": {"below": 0.3, "above": 0.1}},
        {"holds": {"under": 0.3}},
        {"fails": {"below": 0.1}},
        {"fails": {"above": 0.2}},
        {"fails": {"above": float("nan")}},
        {"deviation": None},
    ],
)
def test_a_contradictory_criterion_is_refused(changes):
    given = {"statistic": "mean", "holds": {"below": 0.3}, "fails": {"above": 0.7}, "deviation": {"at_most": 0.1}}
    assert str(read_criterion(given)) == "mean below 0.3 (fails above 0.7)"
    with pytest.raises(ValueError, match="criterion|threshold|both|limit"):
        read_criterion(given | changes)


def test_verdicts_hold_plain_numbers():
    judged = judge([0.1, 0.12, 0.11])
    assert isinstance(judged, Verdict)
    assert {type(value) for value in (judged.estimate, judged.ci_low, judged.ci_high, judged.p_value)} == {float}
    assert p_value([], BELOW.law, BELOW.holds) == 1
