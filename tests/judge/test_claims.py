"""Every claim of every study: its query is valid, and its criterion can be met and failed."""

from pathlib import Path

import pytest
import yaml

from reinduce.judge.criteria import Criterion, Threshold, read_criterion
from reinduce.judge.evidence import check_query
from reinduce.judge.verdicts import apply_control, judge_seeds

STUDIES = Path(__file__).parents[2] / "workflow" / "studies"
CLAIMS = {
    f"{path.parent.name}.{claim['id']}": claim
    for path in sorted(STUDIES.glob("*/claims.yaml"))
    for claim in yaml.safe_load(path.read_text())
}
every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())


def plant_beyond(threshold: Threshold, criterion: Criterion) -> dict[int, float]:
    """Seed → value beyond a threshold, clear of it but not all equal; for a share, enough equal values."""
    if criterion.statistic == "share":
        return dict.fromkeys(range(40), int(threshold.side == "above"))
    direction = 1 if threshold.side == "above" else -1
    distance = 1.0
    if criterion.value_range:
        distance = abs(criterion.value_range[threshold.side == "above"] - threshold.value) / 2
    return {seed: threshold.value + direction * distance * (1 + seed / 100) for seed in range(6)}


@every_claim
def test_queries_of_claim_and_control_are_valid(claim):
    bindings, control = claim.get("with", {}), claim["control"]
    assert check_query(claim["evidence"], claim["reads"], bindings) is None
    reads = control.get("reads", claim["reads"])
    assert check_query(claim["evidence"], reads, bindings | control["with"]) is None
    assert (bindings | control["with"], reads) != (bindings, claim["reads"]), "the control is the claim itself"


@every_claim
def test_planted_values_flip_the_verdict(claim):
    criterion = read_criterion(claim["criterion"])
    up, down = (plant_beyond(threshold, criterion) for threshold in (criterion.holds, criterion.fails))
    holds, fails = judge_seeds(up, up, criterion), judge_seeds(down, down, criterion)
    assert (holds.verdict, fails.verdict) == ("holds", "fails")
    assert apply_control(holds, fails, down.values(), criterion).verdict == "holds"
    assert apply_control(holds, holds, up.values(), criterion).verdict == "inconclusive"
