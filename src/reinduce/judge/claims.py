"""One claim to its verdict: evidence of the claim and of its control, judged by the criterion."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinduce.config.layout import common_seeds
from reinduce.judge import evidence
from reinduce.judge.checks import check_query
from reinduce.judge.criteria import Criterion, read_criterion
from reinduce.judge.repeats import repeat_rate
from reinduce.judge.verdicts import (
    Verdict,
    apply_control,
    apply_family,
    is_open,
    judge_seeds,
    leave_each_out,
    note_scatter,
)
from reinduce.trace.chain import Chain

CLAIM_KEYS = {
    *("study", "claim", "scale", "looks", "claim_number", "statement", "source", "paper_value", "unit", "figure"),
    *("family", "family_size", "registered"),
    *("reads", "with", "evidence", "criterion", "control"),
}
"""Keys that a resolved claim must have."""


@dataclass(frozen=True)
class _Side:
    """A claim or its control, judged by itself."""

    verdict: Verdict
    values: dict[int, float | None]
    """Seed → value, for each seed that should have one; None where it was not measured."""
    reads: dict[str, list[str]]
    """Table → arms."""
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
    claim: Mapping[str, Any], look: int, results: Path, chain: Chain | None = None
) -> tuple[dict[str, Any], list[Path]]:
    """Judge a claim by the seeds of a look.

    Args:
        claim: The resolved claim.
        look: Which of the claim's looks, from 1 on.
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
    if not 1 <= look <= len(claim["looks"]):
        raise ValueError(f"looks: the claim has {len(claim['looks'])}, not {look}")
    seeds = claim["looks"][look - 1]
    own = _judge_side(claim, seeds, claim["with"], criterion, results, chain)
    control_bindings = claim["with"] | control["with"]
    other = _judge_side(claim, seeds, control_bindings, criterion, results, chain)
    verdict = apply_control(own.verdict, other.verdict, other.values.values(), criterion)
    verdict = note_scatter(apply_family(verdict, claim["family_size"]), own.values.values(), criterion)
    measured = [value for value in own.values.values() if value is not None]
    control_numbers = {key: value for key, value in dataclasses.asdict(other.verdict).items() if key != "verdict"}
    row = {
        **{
            key: claim[key]
            for key in (
                *("study", "claim", "scale", "claim_number", "statement", "unit", "figure", "family", "family_size"),
            )
        },
        "scope": claim.get("scope"),
        "source": f"{claim['source']['paper']}, {claim['source']['where']}",
        "paper_value": _format_paper_value(claim["paper_value"], claim["unit"]),
        **dataclasses.asdict(verdict),
        "registered": _describe_registration(claim["registered"], own, other),
        "without": {
            seed: word for seed, word in leave_each_out(own.values, criterion).items() if word != own.verdict.verdict
        },
        "repeat_rate": repeat_rate(measured, criterion, len(measured)),
        "look": look,
        "is_open": is_open(verdict, other.verdict) and look < len(claim["looks"]),
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
    seeds: Mapping[str, list[int]],
    bindings: evidence.Bindings,
    criterion: Criterion,
    results: Path,
    chain: Chain | None,
) -> _Side:
    """Judge a claim's query with some bindings: those of the claim or those of its control."""
    problem = check_query(claim["evidence"], claim["reads"], bindings)
    if problem:
        raise ValueError(problem)
    resolved = evidence.resolve_reads(claim["reads"], claim["study"], bindings)
    expected = common_seeds(resolved, seeds)
    # Seeds that not all arms have cannot be compared, so their files are not even read.
    table_files = evidence.list_table_files(resolved, dict.fromkeys(seeds, expected), results)
    files = [*evidence.list_arm_files(resolved, results), *(path for paths in table_files.values() for path in paths)]
    if chain is not None:
        chain.verify(map(str, files))
    found = evidence.run_evidence_query(claim["evidence"], bindings, table_files)
    verdict = judge_seeds(found, expected, criterion)
    return _Side(verdict, {seed: found.get(seed) for seed in expected}, resolved, dict(bindings), files)


def _describe_registration(line: Mapping[str, Any] | None, *sides: _Side) -> str:
    """Since when the claim is as it was judged, and how many of its seeds some claim had been judged by before."""
    if line is None:
        return "not registered as it is"
    judged = {(arm, seed) for side in sides for names in side.reads.values() for arm in names for seed in side.values}
    known = sum(seed in line["known_seeds"].get(arm, ()) for arm, seed in judged)
    parts = [line["date"], f"after {known} of {len(judged)} runs were known" if known else ""]
    parts += ["judged by other seeds than registered"] if line.get("other_seeds") else []
    return ", ".join(part for part in parts if part)


def _format_paper_value(found: Mapping[str, Any], unit: str) -> str:
    """The paper's words, its number with a unit, and how it compares."""
    numbers = [f"{found['value']:g}"] if "value" in found else []
    numbers += [f"[{', '.join(f'{end:g}' for end in found['interval'])}]"] if "interval" in found else []
    shown = f" = {' '.join(numbers)} {found.get('unit', unit)}" if numbers else ""
    how = {"direct": "comparable", "rescaled": "of models or data of another size", "direction": "a direction alone"}
    return f"{found['text']}{shown} ({how[found['compare']]})"


def _format_bindings(bindings: evidence.Bindings) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(bindings.items()))
