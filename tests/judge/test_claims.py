"""Every claim of every study: its query is valid, and its criterion can be met and failed."""

import math
from pathlib import Path

import pytest
import yaml

from reinduce.judge.checks import check_query
from reinduce.judge.criteria import Criterion, Threshold, read_criterion
from reinduce.judge.statistics import min_seeds
from reinduce.judge.verdicts import apply_control, judge_seeds

STUDIES = Path(__file__).parents[2] / "workflow" / "studies"
CLAIMS = {
    f"{path.parent.name}.{claim['id']}": claim
    for path in sorted(STUDIES.glob("*/claims.yaml"))
    for claim in yaml.safe_load(path.read_text())
}
every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())


def plant_beyond(threshold: Threshold, criterion: Criterion) -> dict[int, float]:
    """Seed → value, as far beyond a threshold as the range allows, else five deviations; as many as it takes."""
    law = criterion.law
    furthest = threshold.value + 5 * (law.deviation or 1) * (1 if threshold.side == "above" else -1)
    end = law.value_range[threshold.side == "above"]
    furthest = min(furthest, end) if threshold.side == "above" else max(furthest, end)
    furthest = end if not law.deviation and math.isfinite(end) else furthest
    needed = min_seeds(law, threshold)
    assert needed is not None and needed <= 20, "no outcome of the seeds of any look decides"
    return dict.fromkeys(range(needed), furthest)


@every_claim
def test_queries_of_claim_and_control_are_valid(claim):
    bindings, control = claim.get("with", {}), claim["control"]
    assert check_query(claim["evidence"], claim["reads"], bindings) is None
    assert check_query(claim["evidence"], claim["reads"], bindings | control["with"]) is None
    assert bindings | control["with"] != bindings, "the control is the claim itself"


@every_claim
def test_planted_values_flip_the_verdict(claim):
    criterion = read_criterion(claim["criterion"])
    up, down = (plant_beyond(threshold, criterion) for threshold in (criterion.holds, criterion.fails))
    holds, fails = judge_seeds(up, up, criterion), judge_seeds(down, down, criterion)
    assert (holds.verdict, fails.verdict) == ("holds", "fails")
    assert apply_control(holds, fails, down.values(), criterion).verdict == "holds"
    assert apply_control(holds, holds, up.values(), criterion).verdict == "void"
