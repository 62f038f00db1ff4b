"""What is wrong with a claim is found before anything runs."""

import pytest

from reinduce.judge.checks import check_claims, list_alone

COMPARED = "SELECT seed, value FROM trajectories WHERE arm = $arm AND metric = $metric"


def check_claim(sql=COMPARED, reads=None, own=None, control=None):
    """What is wrong with a claim of the study olsson2022 and its control."""
    claim = {
        "study": "olsson2022",
        "claim": "one",
        "evidence": sql,
        "reads": reads or {"trajectories": ["$arm"]},
        "with": own or {"arm": "attn2", "metric": "window_start"},
        "control": {"with": control or {"arm": "attn1"}},
    }
    return check_claims([claim])


@pytest.mark.parametrize(
    ("sql", "accepted"),
    [
        (COMPARED, True),
        (COMPARED.replace("$metric", "'pca_turn_angl'"), False),
        (COMPARED.replace("= $metric", "IN ('window_end', $metric)"), True),
        (COMPARED.replace("= $metric", "NOT IN ('window_edn', $metric)"), False),
        (COMPARED + " AND trajectories.study <> 'olson2022'", False),
        (COMPARED + " AND arm = 'attn9'", False),
        (COMPARED.replace("= $metric", "IS NOT DISTINCT FROM 'window_strat'"), False),
        (COMPARED.replace("= $metric", "= 'window_strat'::VARCHAR"), False),
        (COMPARED.replace("$metric", "'prefix_matching'"), False),
        # The name is that of a column which the query itself makes.
        (f"SELECT seed, value FROM (SELECT seed, value, 'mine' AS arm FROM ({COMPARED})) WHERE arm = 'mine'", True),
    ],
)
def test_a_query_may_ask_only_for_names_that_rows_can_have(sql, accepted):
    own = {"arm": "attn2"} | ({"metric": "window_start"} if "$metric" in sql else {})
    problems = check_claim(sql, own=own)
    # The control binds another arm, and its query is as wrong.
    assert len(problems) == (0 if accepted else 2), problems


def test_a_misspelt_name_of_a_control_is_told_with_the_one_that_was_meant():
    [problem] = check_claim(control={"metric": "window_strat"})
    assert problem == "olsson2022.one (control): evidence: metric: no 'window_strat'; do you mean 'window_start'?"


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("starts_with(metric, 'icl_midpiont:')", "icl_midpoint"),
        ("metric LIKE 'icl_midpiont:%'", "icl_midpoint"),
        ("metric = concat($metric, '_start')", "window_start"),
        ("lower(metric) = 'window_strat'", "window_start"),
        ("metric = ANY(['window_strat'])", "window_start"),
        ("starts_with(metric, 'icl_midpoint:')", None),
        ("metric LIKE 'window%'", None),
        ("metric <> concat('not a metric at all', value)", None),
    ],
)
def test_a_misspelt_name_is_found_wherever_in_a_query_it_stands(condition, meant):
    own = {"arm": "attn2"} | ({"metric": "windwo_start"} if "$metric" in condition else {})
    problems = check_claim(COMPARED.replace("metric = $metric", condition), own=own)
    assert len(problems) == (2 if meant else 0), problems
    assert all(f"do you mean {meant!r}?" in problem for problem in problems)


def test_an_arm_with_its_studys_name_is_the_same_arm():
    [problem] = check_claim(control={"arm": "olsson2022/attn2"}, sql=COMPARED.replace("arm = $arm AND ", ""))
    assert "it is the claim itself" in problem


def claim_of_family(name, n, family):
    """A claim on a median over n seeds."""
    criterion = {"statistic": "median", "holds": {"above": 0.5}, "fails": {"below": 0.5}}
    reads = {"reads": {"scores": ["attn2"]}, "with": {}, "looks": [{"olsson2022/attn2": list(range(n))}]}
    return {"study": "olsson2022", "claim": name, "family": family, "criterion": criterion} | reads


def test_claims_that_can_only_hold_alone_are_named():
    """Six of six seeds give a median the p-value 0.022: enough for one claim, not for the first of two."""
    assert list_alone([claim_of_family("one", 6, "mine")]) == []
    pair = [claim_of_family("one", 6, "mine"), claim_of_family("other", 6, "mine")]
    assert list_alone(pair) == ["olsson2022.one", "olsson2022.other"]
    assert list_alone([claim_of_family("one", 7, "mine"), claim_of_family("other", 7, "mine")]) == []
    assert list_alone([pair[0], claim_of_family("other", 6, "yours")]) == []


@pytest.mark.parametrize(
    ("metric", "is_known"),
    [
        ("icl_score:126/12", True),
        ("prefix_matching:first_half", True),
        ("query_loss", False),
        ("query_loss:relabelled", True),
        ("query_loss:relabeled", False),
        ("prefix_matching:frist_half", False),
        ("window_start", False),
    ],
)
def test_metrics_are_asked_for_by_the_names_that_their_rows_have(metric, is_known):
    reads = {"scores": ["olsson2022/attn2", "singh2024/whole"]}
    sql = "SELECT seed, value FROM scores WHERE metric = $metric"
    assert (check_claim(sql, reads, {"metric": metric}, {"metric": "loss"}) == []) == is_known


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        ({"few": "attn1"}, "it is the claim itself"),
        ({"few": "attn2", "many": "attn1"}, "the claim's own verdict says all that it could show"),
    ],
)
def test_a_control_that_is_the_claim_or_its_mirror_is_refused(control, reason):
    sql = """SELECT a.seed, b.value - a.value AS value FROM trajectories a JOIN trajectories b USING (seed)
             WHERE a.arm = $few AND b.arm = $many"""
    reads, own = {"trajectories": ["$few", "$many"]}, {"few": "attn1", "many": "attn2"}
    [problem] = check_claim(sql, reads, own, control)
    assert reason in problem
    assert check_claim(sql, reads, own, {"few": "smeared1"}) == []


def test_another_head_is_no_mirror_though_its_numbers_are_the_same():
    sql = "SELECT seed, value FROM scores WHERE arm = $arm AND metric = 'copying' AND layer = $layer AND head = $head"
    own = {"arm": "attn2", "layer": 0, "head": 1}
    assert check_claim(sql, {"scores": ["$arm"]}, own, {"layer": 1, "head": 0}) == []


def test_unsigned_numbers_are_numbers():
    sql = COMPARED.replace("SELECT seed, value", "SELECT seed::UINTEGER AS seed, value::UBIGINT AS value")
    assert check_claim(sql) == []
