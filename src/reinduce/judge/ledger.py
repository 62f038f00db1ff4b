"""All verdicts in one table, with a correction for their number."""

from collections.abc import Iterable, Mapping
from typing import Any

from reinduce.judge.statistics import holm_correction
from reinduce.trace.chain import Fault, Refused


def join_verdicts(claims: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join judged claims, with Holm's correction over all of them.

    Args:
        claims: Judged claims, as `judge_claim` returns them.

    Returns:
        The claims in the ledger's order, with `p_holm`.

    Raises:
        ValueError: A claim is given twice.
        Refused: The claims were judged at different scales.
    """
    ordered = sorted(claims, key=lambda claim: (claim["study"], claim["claim_number"], claim["claim"]))
    names = [f"{claim['study']}.{claim['claim']}" for claim in ordered]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"ledger: given twice: {', '.join(twice)}")
    scales = sorted({claim["scale"] for claim in ordered})
    if len(scales) > 1:
        reason = f"claims were judged at different scales: {', '.join(scales)}"
        raise Refused([Fault("the ledger", reason, "snakemake --cores all --forcerun claim")])
    corrected = holm_correction([claim["p_value"] for claim in ordered])
    return [{**claim, "p_holm": p} for claim, p in zip(ordered, corrected, strict=True)]
