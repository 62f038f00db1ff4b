"""Wrong decisions at the boundary, whatever the law of seeds: at most the stated error, over all looks."""

from pathlib import Path

import pytest

from reinduce.judge.statistics import ERROR
from tests.judge.simulation import LAWS, METHODS, RUNS, SIDES, format_table, format_wrong_deviations, simulate

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
SIMULATION_ERROR = 3 * (ERROR * (1 - ERROR) / RUNS) ** 0.5


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("method", METHODS[:4])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_statistic_at_a_threshold_is_rarely_taken_to_be_beyond_it(law, method, side):
    rate = simulate(law, method, side)
    assert rate is None or rate <= ERROR + SIMULATION_ERROR


def test_student_errs_where_this_method_does_not():
    """So the laws are hard enough to show a method that fails."""
    rates = [simulate(law, METHODS[4], side) for law in LAWS for side in SIDES]
    assert max(rate for rate in rates if rate is not None) > 0.3


def test_a_deviation_that_is_declared_too_small_errs_more_often():
    assert simulate(LAWS[0], "mean, deviation", "above", deviation_share=0.5) > 0.1


@pytest.mark.parametrize(("name", "table"), [("errors", format_table), ("deviations", format_wrong_deviations)])
def test_the_page_has_the_simulated_rates(name, table):
    written = PAGE.read_text().split(f"<!-- {name} -->")[1].strip().split("\n\n")[0]
    assert written == table()
