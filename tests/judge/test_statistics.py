"""Intervals, p-values and verdicts against references, hand-worked examples and simulation."""

import numpy as np
import pytest
from scipy import stats

from reinduce.judge.criteria import Criterion, Threshold, read_criterion
from reinduce.judge.statistics import confidence_interval, holm_correction, p_value
from reinduce.judge.verdicts import Verdict, apply_control, judge_seeds

BELOW = Criterion("mean", Threshold("below", 0.3), Threshold("above", 0.7))
ABOVE = Criterion("median", Threshold("above", 0.5), Threshold("below", 0.2))


def judge(values, criterion=BELOW, seeds=None):
    return judge_seeds(dict(enumerate(values)), range(len(values)) if seeds is None else seeds, criterion)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_mean_interval_is_students(n):
    values = np.random.default_rng(n).normal(3, 2, n).tolist()
    expected = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    assert confidence_interval(values, "mean") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side, alternative", [("above", "greater"), ("below", "less")])
def test_p_values_are_the_one_sided_tests(side, alternative):
    values = np.random.default_rng(1).normal(0.4, 1, 9).tolist()
    t_test = stats.ttest_1samp(values, 0.1, alternative=alternative).pvalue
    assert p_value(values, "mean", Threshold(side, 0.1)) == pytest.approx(t_test, rel=1e-9)
    beyond = sum(value > 0.1 if side == "above" else value < 0.1 for value in values)
    sign_test = stats.binomtest(beyond, 9, alternative="greater").pvalue
    assert p_value(values, "median", Threshold(side, 0.1)) == pytest.approx(sign_test, rel=1e-9)


@pytest.mark.parametrize("n, low, high", [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15)])
def test_median_interval_lies_between_the_tabulated_order_statistics(n, low, high):
    assert confidence_interval(list(range(1, n + 1)), "median") == (low, high)


def test_too_few_values_have_no_interval():
    assert confidence_interval([1.0], "mean") is None
    assert confidence_interval([1.0, 2, 3, 4, 5], "median") is None


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_p_value_and_interval_agree_on_the_threshold(statistic):
    generator = np.random.default_rng(2)
    threshold = Threshold("above", 0.0)
    for _ in range(300):
        values = generator.normal(0.7, 1, generator.integers(6, 12)).tolist()
        assert (confidence_interval(values, statistic)[0] > 0) == (p_value(values, statistic, threshold) <= 0.025)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.10, 0.12, 0.11, 0.13, 0.09], "holds"),
        ([0.90, 0.92, 0.91, 0.93, 0.89], "fails"),
        ([0.50, 0.52, 0.51, 0.53, 0.49], "inconclusive"),
        ([0.05, 0.50, 0.10, 0.40, 0.20], "inconclusive"),
    ],
)
def test_the_whole_interval_decides(values, expected):
    judged = judge(values)
    assert judged.verdict == expected
    assert judged.ci_low < judged.estimate < judged.ci_high
    assert judged.n_seeds == 5


def test_median_verdicts():
    assert judge([0.6, 0.7, 0.8, 0.9, 0.7, 0.6], ABOVE).verdict == "holds"
    assert judge([0.6, 0.7, 0.8, 0.9, 0.7, 0.4], ABOVE).verdict == "inconclusive"
    few = judge([0.6, 0.7, 0.8, 0.9, 0.7], ABOVE)
    assert (few.verdict, few.ci_low) == ("inconclusive", None)
    assert "at least 6" in few.reason


def test_too_few_seeds():
    judged = judge([0.1, 0.1])
    assert judged.verdict == "inconclusive"
    assert "too few" in judged.reason
    assert judged.p_value is None
    assert judge([], seeds=()).estimate is None


def test_unmeasured_seeds_are_named():
    judged = judge_seeds({0: 0.1, 1: 0.11, 2: None, 3: 0.1, 4: 0.09}, range(6), BELOW)
    assert judged.verdict == "inconclusive"
    assert judged.reason == "not measured for seeds 2, 5"
    assert judged.estimate == pytest.approx(0.1)
    assert judged.n_seeds == 4
    assert judged.p_value is None


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 0.8])
def test_equal_values_of_unknown_range_are_inconclusive(value):
    for values in ([value] * 4, [value * (1 - 1e-16), value, value * (1 + 1e-15), value]):
        judged = judge(values)
        assert (judged.verdict, judged.ci_low, judged.p_value) == ("inconclusive", None, None)
        assert judged.estimate == pytest.approx(value) and "without any spread" in judged.reason
    apart = judge([value, value, value, value + 1e-6])
    assert apart.ci_low < apart.estimate < apart.ci_high


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("draw", [lambda g, n: g.normal(0, 1, n), lambda g, n: g.uniform(-1, 1, n)])
def test_at_the_threshold_a_claim_holds_in_at_most_five_of_a_hundred_runs(draw, n):
    generator = np.random.default_rng(3)
    held = [judge((0.3 + draw(generator, n)).tolist()).verdict == "holds" for _ in range(2000)]
    assert 0 < np.mean(held) <= 0.05


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (1, 1)])
def test_at_most_five_of_a_hundred_hold_for_values_between_0_and_1(shape):
    """Shares of attention or accuracies, with criteria on either side."""
    generator, mean = np.random.default_rng(4), shape[0] / sum(shape)
    for criterion in (
        Criterion("mean", Threshold("above", mean), Threshold("below", 0.01)),
        Criterion("mean", Threshold("below", mean), Threshold("above", 0.99)),
    ):
        held = [judge(generator.beta(*shape, 5).tolist(), criterion).verdict == "holds" for _ in range(2000)]
        assert 0 < np.mean(held) <= 0.05


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("mean", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
def test_at_most_five_of_a_hundred_hold_for_means_of_few_levels(n, levels, mean, value_range):
    """For example a number of four heads: seeds often have equal values, at 0.99 in four of five runs."""
    generator = np.random.default_rng(7)
    for criterion in (
        Criterion("mean", Threshold("above", mean), Threshold("below", mean / 2), value_range),
        Criterion("mean", Threshold("below", mean), Threshold("above", (1 + mean) / 2), value_range),
    ):
        drawn = generator.binomial(levels, mean, (1000, n)) / levels
        held = [judge(values.tolist(), criterion).verdict == "holds" for values in drawn]
        assert np.mean(held) <= 0.05


@pytest.mark.parametrize(
    ("draw", "mean", "limit"),
    [
        (lambda g: g.binomial(8, 0.9, 5) / 8, 0.9, 0.08),
        (lambda g: g.binomial(1, 0.9, 40), 0.9, 0.11),
        (lambda g: -g.exponential(1, 5), -1, 0.13),
    ],
    ids=["a number of eight heads", "averaged zeros and ones", "a long tail"],
)
def test_skewed_values_hold_more_often_by_a_known_amount(draw, mean, limit):
    """The limits of Student's interval stated in the README: a little more than five in a hundred."""
    generator = np.random.default_rng(9)
    criterion = Criterion("mean", Threshold("above", mean), Threshold("below", mean - 9))
    held = [judge(draw(generator).tolist(), criterion).verdict == "holds" for _ in range(4000)]
    assert 0.05 < np.mean(held) < limit


@pytest.mark.parametrize("n", [8, 15, 40])
def test_at_most_five_of_a_hundred_hold_for_medians_of_any_shape(n):
    generator = np.random.default_rng(5)
    criterion = Criterion("median", Threshold("above", 1.0), Threshold("below", 0.01))
    held = [judge(generator.lognormal(0, 1.5, n).tolist(), criterion).verdict == "holds" for _ in range(2000)]
    assert np.mean(held) <= 0.05


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_at_most_five_of_a_hundred_hold_for_shares(n, share):
    """Five seeds with value 1 are no proof: by the mean of zeros and ones, half of these would hold."""
    generator = np.random.default_rng(6)
    criterion = Criterion("share", Threshold("above", share), Threshold("below", 0.1))
    held = [judge((generator.random(n) < share).astype(int).tolist(), criterion).verdict for _ in range(2000)]
    assert held.count("holds") / len(held) <= 0.05


@pytest.mark.parametrize("yes, n", [(0, 5), (3, 5), (5, 5), (11, 12)])
def test_a_shares_interval_and_p_value_are_exact(yes, n):
    values = [1] * yes + [0] * (n - yes)
    expected = stats.binomtest(yes, n).proportion_ci(0.95, "exact")
    assert confidence_interval(values, "share") == pytest.approx((expected.low, expected.high))
    for side, alternative in (("above", "greater"), ("below", "less")):
        test = stats.binomtest(yes, n, 0.3, alternative=alternative).pvalue
        assert p_value(values, "share", Threshold(side, 0.3)) == pytest.approx(test)


def test_the_reason_states_how_many_equal_seeds_are_needed():
    criterion = read_criterion({"statistic": "share", "holds": {"above": 0.7}, "fails": {"below": 0.3}})
    few = judge([1] * 10, criterion)
    assert few.verdict == "inconclusive"
    assert few.reason == "10 equal seeds are too few: 11 are needed for an interval above 0.7"
    assert judge([1] * 11, criterion).verdict == "holds"
    assert judge([0] * 11, criterion).verdict == "fails"
    assert judge([1] * 10 + [0], criterion).verdict == "inconclusive"
    hard = read_criterion({"statistic": "share", "holds": {"above": 0.9}, "fails": {"below": 0.5}})
    assert judge([0] * 8, hard).verdict == "fails", "too few to hold may be enough to fail"
    with pytest.raises(ValueError, match="a share needs the value 0 or 1 of each seed"):
        judge([1, 0.5, 1], criterion)


@pytest.mark.parametrize("n", [3, 9, 10, 40])
def test_equal_values_within_a_known_range_have_an_interval(n):
    """All seeds have the same number of eight heads; as many others as the exact binomial allows may have none."""
    given = {"statistic": "mean", "holds": {"above": 5.5}, "fails": {"below": 3.5}, "value_range": [0, 8]}
    judged, share = judge([8] * n, read_criterion(given)), stats.binomtest(n, n).proportion_ci(0.95, "exact")
    assert (judged.ci_low, judged.ci_high) == pytest.approx((8 * share.low, 8))
    assert judged.verdict == ("holds" if n >= 10 else "inconclusive")
    assert (judged.p_value <= 0.025) == (judged.verdict == "holds")
    assert judged.p_value == pytest.approx((5.5 / 8) ** n)
    if n < 10:
        assert judged.reason == f"{n} equal seeds are too few: 10 are needed for an interval above 5.5"
    assert judge([2] * n, read_criterion(given)).verdict == ("fails" if n > 12 else "inconclusive")
    for at_the_threshold in (3.5, 3.5 - 1e-15, 5.5 + 1e-15):
        judged = judge([at_the_threshold] * n, read_criterion(given))
        assert judged.reason == "the interval lies neither above 5.5 nor below 3.5"
    with pytest.raises(ValueError, match="between 0 and 8, but the seeds have"):
        judge([8, 8, 9], read_criterion(given))


def test_a_control_that_holds_voids_the_claim():
    low, high = [0.1, 0.11, 0.12], [0.9, 0.91, 0.92]
    holds, fails = judge(low), judge(high)
    assert apply_control(holds, fails, high, BELOW) == holds
    void = apply_control(holds, holds, low, BELOW)
    assert (void.verdict, void.reason) == ("inconclusive", "the control holds as well")
    assert void.estimate == holds.estimate
    assert apply_control(fails, holds, low, BELOW) == fails


@pytest.mark.parametrize("values", [[0.1] * 5, [0.0, 0.29, 0.0, 0.29, 0.1], [0.1, None, 0.2]])
def test_an_inconclusive_control_voids_the_claim_if_all_its_seeds_meet_the_criterion(values):
    holds, control = judge([0.1, 0.11, 0.12]), judge(values)
    assert control.verdict == "inconclusive"
    void = apply_control(holds, control, values, BELOW)
    assert void.verdict == "inconclusive" and "seeds of the control lie below 0.3 as well" in void.reason
    assert apply_control(holds, control, [*values, 0.3], BELOW) == holds
    assert apply_control(holds, judge([None] * 3), [None] * 3, BELOW) == holds


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
    ],
)
def test_a_contradictory_criterion_is_refused(changes):
    given = {"statistic": "mean", "holds": {"below": 0.3}, "fails": {"above": 0.7}}
    assert str(read_criterion(given)) == "mean below 0.3 (fails above 0.7)"
    with pytest.raises(ValueError, match="criterion|threshold|both"):
        read_criterion(given | changes)


def test_verdicts_hold_plain_numbers():
    judged = judge([0.1, 0.12, 0.11])
    assert isinstance(judged, Verdict)
    assert {type(value) for value in (judged.estimate, judged.ci_low, judged.ci_high, judged.p_value)} == {float}
