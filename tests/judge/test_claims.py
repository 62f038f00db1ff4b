"""Every claim of every study: its query can be asked, and its criterion can go either way."""

from pathlib import Path

import pytest
import yaml

from reinduce.judge.evidence import check_query
from reinduce.judge.statistics import Bound, Criterion, read_criterion, verdict, with_control

STUDIES = Path(__file__).parents[2] / "workflow" / "studies"
CLAIMS = {
    f"{path.parent.name}.{claim['id']}": claim
    for path in sorted(STUDIES.glob("*/claims.yaml"))
    for claim in yaml.safe_load(path.read_text())
}
every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())


def planted(bound: Bound, criterion: Criterion) -> dict[int, float]:
    """Seeds that lie beyond a bound, clear of it but not all alike; of yes and no, enough that agree."""
    if criterion.statistic == "share":
        return dict.fromkeys(range(40), int(bound.side == "above"))
    direction = 1 if bound.side == "above" else -1
    room = abs(criterion.between[bound.side == "above"] - bound.threshold) / 2 if criterion.between else 1
    return {seed: bound.threshold + direction * room * (1 + seed / 100) for seed in range(6)}


@every_claim
def test_claim_and_control_can_be_asked(claim):
    bindings, control = claim.get("with", {}), claim["control"]
    assert check_query(claim["evidence"], claim["reads"], bindings) is None
    reads = control.get("reads", claim["reads"])
    assert check_query(claim["evidence"], reads, bindings | control["with"]) is None
    assert (bindings | control["with"], reads) != (bindings, claim["reads"]), "the control is the claim itself"


@every_claim
def test_planted_values_flip_the_verdict(claim):
    criterion = read_criterion(claim["criterion"])
    up, down = (planted(bound, criterion) for bound in (criterion.holds, criterion.fails))
    holds, fails = verdict(up, up, criterion), verdict(down, down, criterion)
    assert (holds.verdict, fails.verdict) == ("holds", "fails")
    assert with_control(holds, fails, down.values(), criterion).verdict == "holds"
    assert with_control(holds, holds, up.values(), criterion).verdict == "inconclusive"
