"""Intervals, p-values and verdicts against references, hand-worked examples and simulation."""

import numpy as np
import pytest
from scipy import stats

from reinduce.judge.statistics import Bound, Criterion, Verdict, holm, interval, p_value, read_criterion, with_control
from reinduce.judge.statistics import verdict as judge_values

BELOW = Criterion("mean", Bound("below", 0.3), Bound("above", 0.7))
ABOVE = Criterion("median", Bound("above", 0.5), Bound("below", 0.2))


def verdict(values, criterion=BELOW, seeds=None):
    return judge_values(dict(enumerate(values)), range(len(values)) if seeds is None else seeds, criterion)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_mean_interval_is_students(n):
    values = np.random.default_rng(n).normal(3, 2, n).tolist()
    expected = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values, "mean") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side, alternative", [("above", "greater"), ("below", "less")])
def test_p_values_are_the_one_sided_tests(side, alternative):
    values = np.random.default_rng(1).normal(0.4, 1, 9).tolist()
    t_test = stats.ttest_1samp(values, 0.1, alternative=alternative).pvalue
    assert p_value(values, "mean", Bound(side, 0.1)) == pytest.approx(t_test, rel=1e-9)
    beyond = sum(value > 0.1 if side == "above" else value < 0.1 for value in values)
    sign_test = stats.binomtest(beyond, 9, alternative="greater").pvalue
    assert p_value(values, "median", Bound(side, 0.1)) == pytest.approx(sign_test, rel=1e-9)


@pytest.mark.parametrize("n, low, high", [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15)])
def test_median_interval_lies_between_the_tabulated_order_statistics(n, low, high):
    assert interval(list(range(1, n + 1)), "median") == (low, high)


def test_too_few_values_have_no_interval():
    assert interval([1.0], "mean") is None
    assert interval([1.0, 2, 3, 4, 5], "median") is None


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_p_value_and_interval_agree_on_what_is_beyond(statistic):
    generator = np.random.default_rng(2)
    bound = Bound("above", 0.0)
    for _ in range(300):
        values = generator.normal(0.7, 1, generator.integers(6, 12)).tolist()
        assert (interval(values, statistic)[0] > 0) == (p_value(values, statistic, bound) <= 0.025)


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
    judged = verdict(values)
    assert judged.verdict == expected
    assert judged.low < judged.estimate < judged.high
    assert judged.n_seeds == 5


def test_median_verdicts():
    assert verdict([0.6, 0.7, 0.8, 0.9, 0.7, 0.6], ABOVE).verdict == "holds"
    assert verdict([0.6, 0.7, 0.8, 0.9, 0.7, 0.4], ABOVE).verdict == "inconclusive"
    few = verdict([0.6, 0.7, 0.8, 0.9, 0.7], ABOVE)
    assert (few.verdict, few.low) == ("inconclusive", None)
    assert "at least 6" in few.reason


def test_too_few_seeds():
    judged = verdict([0.1, 0.1])
    assert judged.verdict == "inconclusive"
    assert "too few" in judged.reason
    assert judged.p_value is None
    assert verdict([], seeds=()).estimate is None


def test_unmeasured_seeds_are_named():
    judged = judge_values({0: 0.1, 1: 0.11, 2: None, 3: 0.1, 4: 0.09}, range(6), BELOW)
    assert judged.verdict == "inconclusive"
    assert judged.reason == "not measured for seeds 2, 5"
    assert judged.estimate == pytest.approx(0.1)
    assert judged.n_seeds == 4
    assert judged.p_value is None


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 0.8])
def test_equal_values_decide_nothing(value):
    for values in ([value] * 4, [value * (1 - 1e-16), value, value * (1 + 1e-15), value]):
        judged = verdict(values)
        assert (judged.verdict, judged.low, judged.p_value) == ("inconclusive", None, None)
        assert judged.estimate == pytest.approx(value) and "without any spread" in judged.reason
    apart = verdict([value, value, value, value + 1e-6])
    assert apart.low < apart.estimate < apart.high


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("draw", [lambda g, n: g.normal(0, 1, n), lambda g, n: g.uniform(-1, 1, n)])
def test_at_the_boundary_a_claim_holds_in_at_most_five_of_a_hundred_runs(draw, n):
    generator = np.random.default_rng(3)
    held = [verdict((0.3 + draw(generator, n)).tolist()).verdict == "holds" for _ in range(2000)]
    assert 0 < np.mean(held) <= 0.05


@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (1, 1)])
def test_so_too_for_shares_of_attention_or_accuracies(shape):
    """Values between 0 and 1, and criteria of either side."""
    generator, mean = np.random.default_rng(4), shape[0] / sum(shape)
    for criterion in (
        Criterion("mean", Bound("above", mean), Bound("below", 0.01)),
        Criterion("mean", Bound("below", mean), Bound("above", 0.99)),
    ):
        held = [verdict(generator.beta(*shape, 5).tolist(), criterion).verdict == "holds" for _ in range(2000)]
        assert 0 < np.mean(held) <= 0.05


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("mean", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("between", [None, (0, 1)])
def test_so_too_for_means_of_few_levels(n, levels, mean, between):
    """So many of four heads, say: seeds often give the very same number, at 0.99 in four of five runs."""
    generator = np.random.default_rng(7)
    for criterion in (
        Criterion("mean", Bound("above", mean), Bound("below", mean / 2), between),
        Criterion("mean", Bound("below", mean), Bound("above", (1 + mean) / 2), between),
    ):
        drawn = generator.binomial(levels, mean, (1000, n)) / levels
        held = [verdict(values.tolist(), criterion).verdict == "holds" for values in drawn]
        assert np.mean(held) <= 0.05


@pytest.mark.parametrize(
    ("draw", "mean", "limit"),
    [
        (lambda g: g.binomial(8, 0.9, 5) / 8, 0.9, 0.08),
        (lambda g: g.binomial(1, 0.9, 40), 0.9, 0.11),
        (lambda g: -g.exponential(1, 5), -1, 0.13),
    ],
    ids=["so many of eight heads", "zeros and ones that are averaged", "a long tail"],
)
def test_skewed_values_hold_more_often_than_that_and_how_often_is_known(draw, mean, limit):
    """What Student's interval cannot do, as README says: these lie above five in a hundred, and not far."""
    generator = np.random.default_rng(9)
    criterion = Criterion("mean", Bound("above", mean), Bound("below", mean - 9))
    held = [verdict(draw(generator).tolist(), criterion).verdict == "holds" for _ in range(4000)]
    assert 0.05 < np.mean(held) < limit


@pytest.mark.parametrize("n", [8, 15, 40])
def test_so_too_for_medians_of_any_shape(n):
    generator = np.random.default_rng(5)
    criterion = Criterion("median", Bound("above", 1.0), Bound("below", 0.01))
    held = [verdict(generator.lognormal(0, 1.5, n).tolist(), criterion).verdict == "holds" for _ in range(2000)]
    assert np.mean(held) <= 0.05


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_so_too_for_yes_or_no(n, share):
    """Seeds that all say yes are no proof: with a mean of zeros and ones, half of these would hold."""
    generator = np.random.default_rng(6)
    criterion = Criterion("share", Bound("above", share), Bound("below", 0.1))
    held = [verdict((generator.random(n) < share).astype(int).tolist(), criterion).verdict for _ in range(2000)]
    assert held.count("holds") / len(held) <= 0.05


@pytest.mark.parametrize("yes, n", [(0, 5), (3, 5), (5, 5), (11, 12)])
def test_a_shares_interval_and_p_value_are_exact(yes, n):
    values = [1] * yes + [0] * (n - yes)
    expected = stats.binomtest(yes, n).proportion_ci(0.95, "exact")
    assert interval(values, "share") == pytest.approx((expected.low, expected.high))
    for side, alternative in (("above", "greater"), ("below", "less")):
        test = stats.binomtest(yes, n, 0.3, alternative=alternative).pvalue
        assert p_value(values, "share", Bound(side, 0.3)) == pytest.approx(test)


def test_a_share_says_how_many_seeds_it_takes():
    criterion = read_criterion({"statistic": "share", "holds": {"above": 0.7}, "fails": {"below": 0.3}})
    few = verdict([1] * 10, criterion)
    assert few.verdict == "inconclusive"
    assert few.reason == "10 seeds that agree are too few: 11 are needed for an interval above 0.7"
    assert verdict([1] * 11, criterion).verdict == "holds"
    assert verdict([0] * 11, criterion).verdict == "fails"
    assert verdict([1] * 10 + [0], criterion).verdict == "inconclusive"
    hard = read_criterion({"statistic": "share", "holds": {"above": 0.9}, "fails": {"below": 0.5}})
    assert verdict([0] * 8, hard).verdict == "fails", "too few to hold may be enough to fail"
    with pytest.raises(ValueError, match="seeds that say 0 or 1"):
        verdict([1, 0.5, 1], criterion)


@pytest.mark.parametrize("n", [3, 9, 10, 40])
def test_where_all_agree_the_ends_of_the_values_give_an_interval(n):
    """As many of eight heads in all seeds: the others may have none, and be so many as the exact binomial allows."""
    given = {"statistic": "mean", "holds": {"above": 5.5}, "fails": {"below": 3.5}, "between": [0, 8]}
    judged, share = verdict([8] * n, read_criterion(given)), stats.binomtest(n, n).proportion_ci(0.95, "exact")
    assert (judged.low, judged.high) == pytest.approx((8 * share.low, 8))
    assert judged.verdict == ("holds" if n >= 10 else "inconclusive")
    assert (judged.p_value <= 0.025) == (judged.verdict == "holds")
    assert judged.p_value == pytest.approx((5.5 / 8) ** n)
    if n < 10:
        assert judged.reason == f"{n} seeds that agree are too few: 10 are needed for an interval above 5.5"
    assert verdict([2] * n, read_criterion(given)).verdict == ("fails" if n > 12 else "inconclusive")
    for at_the_bound in (3.5, 3.5 - 1e-15, 5.5 + 1e-15):
        judged = verdict([at_the_bound] * n, read_criterion(given))
        assert judged.reason == "the interval lies neither above 5.5 nor below 3.5"
    with pytest.raises(ValueError, match="between 0 and 8, but seeds give"):
        verdict([8, 8, 9], read_criterion(given))


def test_a_control_that_holds_voids_the_claim():
    low, high = [0.1, 0.11, 0.12], [0.9, 0.91, 0.92]
    holds, fails = verdict(low), verdict(high)
    assert with_control(holds, fails, high, BELOW) == holds
    void = with_control(holds, holds, low, BELOW)
    assert (void.verdict, void.reason) == ("inconclusive", "the control holds as well")
    assert void.estimate == holds.estimate
    assert with_control(fails, holds, low, BELOW) == fails


@pytest.mark.parametrize("values", [[0.1] * 5, [0.0, 0.29, 0.0, 0.29, 0.1], [0.1, None, 0.2]])
def test_a_control_whose_seeds_all_say_so_voids_the_claim_even_if_it_is_undecided(values):
    holds, control = verdict([0.1, 0.11, 0.12]), verdict(values)
    assert control.verdict == "inconclusive"
    void = with_control(holds, control, values, BELOW)
    assert void.verdict == "inconclusive" and "seeds of the control lie below 0.3 as well" in void.reason
    assert with_control(holds, control, [*values, 0.3], BELOW) == holds
    assert with_control(holds, verdict([None] * 3), [None] * 3, BELOW) == holds


def test_holm_by_hand():
    # 4 × 0.005, 3 × 0.01, 2 × 0.03, then 0.04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_counts_claims_without_a_p_value():
    assert holm([0.01, None, 0.5]) == [pytest.approx(0.03), None, 1.0]
    assert holm([]) == []


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
def test_a_criterion_that_makes_no_sense_is_refused(changes):
    given = {"statistic": "mean", "holds": {"below": 0.3}, "fails": {"above": 0.7}}
    assert str(read_criterion(given)) == "mean below 0.3 (fails above 0.7)"
    with pytest.raises(ValueError, match="criterion|bound|both"):
        read_criterion(given | changes)


def test_verdicts_know_nothing_but_plain_numbers():
    judged = verdict([0.1, 0.12, 0.11])
    assert isinstance(judged, Verdict)
    assert {type(value) for value in (judged.estimate, judged.low, judged.high, judged.p_value)} == {float}
