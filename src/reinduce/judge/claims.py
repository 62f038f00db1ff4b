"""One claim to its verdict: evidence of the claim and of its control, judged by the criterion."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinduce.config.layout import SERIES_TABLES
from reinduce.judge import evidence
from reinduce.judge.criteria import Criterion, read_criterion
from reinduce.judge.verdicts import Verdict, apply_control, judge_seeds
from reinduce.trace.chain import Chain

CLAIM_KEYS = {
    *("study", "claim", "scale", "seeds", "claim_number", "statement", "source", "paper_value", "unit", "figure"),
    *("reads", "with", "evidence", "criterion", "control"),
}
"""Keys that a resolved claim must have."""


@dataclass(frozen=True)
class _Side:
    """A claim or its control, judged by itself."""

    verdict: Verdict
    values: dict[int, float | None]
    """Seed → value."""
    reads: dict[str, list[str]]
    """Table → arms, or tasks."""
    bindings: dict[str, Any]
    files: list[Path]
    """Files read."""

    def as_row(self, prefix: str = "") -> dict[str, Any]:
        """What the evidence was, under names with a prefix."""
        return {f"{prefix}{key}": getattr(self, key) for key in ("values", "reads", "bindings")}


def read_claim(path: Path) -> dict[str, Any]:
    """Read a resolved claim.

    Args:
        path: Its JSON file.

    Returns:
        The claim.

    Raises:
        ValueError: The file is not JSON, or the claim lacks keys.
    """
    try:
        claim: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    lacking = sorted(CLAIM_KEYS - set(claim))
    if lacking:
        raise ValueError(f"{path}: the claim lacks {', '.join(lacking)}; resolve it again from its claims.yaml")
    return claim


def judge_claim(
    claim: Mapping[str, Any], results: Path, chain: Chain | None = None
) -> tuple[dict[str, Any], list[Path]]:
    """Judge a claim.

    Args:
        claim: The resolved claim.
        results: Folder of results.
        chain: The manifests by which evidence is verified before anything is computed; None: no verification.

    Returns:
        The claim's row of the ledger together with its evidence, and the files read.

    Raises:
        ValueError: The query, the criterion or the seeds are wrong.
        FileNotFoundError: Evidence is missing.
        Refused: Evidence cannot be trusted.
    """
    control = claim["control"]
    criterion = read_criterion(claim["criterion"])
    own = _judge_side(claim, claim["reads"], claim["with"], criterion, results, chain)
    control_reads, control_bindings = control.get("reads") or claim["reads"], claim["with"] | control["with"]
    other = _judge_side(claim, control_reads, control_bindings, criterion, results, chain)
    verdict = apply_control(own.verdict, other.verdict, other.values.values(), criterion)
    control_numbers = {key: value for key, value in dataclasses.asdict(other.verdict).items() if key != "verdict"}
    row = {
        **{key: claim[key] for key in ("study", "claim", "scale", "claim_number", "statement", "unit", "figure")},
        "scope": claim.get("scope"),
        "source": f"{claim['source']['paper']}, {claim['source']['where']}",
        "paper_value": str(claim["paper_value"]),
        **dataclasses.asdict(verdict),
        "p_holm": None,
        "criterion": str(criterion),
        "why": claim["criterion"]["why"],
        "control": f"{_format_bindings(control['with'])}: {control['why']}",
        "control_verdict": other.verdict.verdict,
        **{f"control_{key}": value for key, value in control_numbers.items()},
        "evidence": claim["evidence"],
        **own.as_row(),
        **other.as_row("control_"),
    }
    return row, [*own.files, *other.files]


def _judge_side(
    claim: Mapping[str, Any],
    reads: evidence.Reads,
    bindings: evidence.Bindings,
    criterion: Criterion,
    results: Path,
    chain: Chain | None,
) -> _Side:
    """Judge a claim's query with some bindings: those of the claim or those of its control."""
    problem = evidence.check_query(claim["evidence"], reads, bindings)
    if problem:
        raise ValueError(problem)
    resolved = evidence.resolve_reads(reads, claim["study"], bindings)
    expected = _expected_seeds(resolved, claim["seeds"])
    table_files = evidence.list_table_files(resolved, claim["seeds"], results)
    files = [*evidence.list_arm_files(resolved, results), *(path for paths in table_files.values() for path in paths)]
    if chain is not None:
        chain.verify(map(str, files))
    values = evidence.run_evidence_query(claim["evidence"], bindings, table_files)
    return _Side(judge_seeds(values, expected, criterion), values, resolved, dict(bindings), files)


def _expected_seeds(reads: evidence.Reads, seeds: Mapping[str, list[int]]) -> list[int]:
    """Seeds common to all arms that are read; where only tables of whole tasks are read, to all arms of the claim."""
    arms = {name for table, names in reads.items() if table not in SERIES_TABLES for name in names}
    unknown = sorted(arms - set(seeds))
    if unknown or not seeds:
        raise ValueError(f"seeds: the claim lists none for {', '.join(unknown) or 'any arm'}")
    return sorted(set.intersection(*(set(seeds[name]) for name in arms or seeds)))


def _format_bindings(bindings: evidence.Bindings) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(bindings.items()))
