"""All verdicts in one table, with a correction for their number in each family."""

from collections.abc import Iterable, Mapping
from typing import Any

from reinduce.judge.statistics import ERROR, holm_correction
from reinduce.judge.verdicts import lift_to_family
from reinduce.trace.chain import Fault, Refused


def join_verdicts(claims: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join judged claims, with Holm's correction over the claims of each family.

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
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for claim in ordered:
        families.setdefault((claim["study"], claim["family"]), []).append(dict(claim))
    corrected = [one for family in families.values() for one in _correct_family(family)]
    return sorted(corrected, key=lambda claim: (claim["study"], claim["claim_number"], claim["claim"]))


def _correct_family(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The claims of one family with `p_holm`; those that hold by it are said to hold.

    Claims of the family that are not among them count as if they showed nothing.
    """
    others = [None] * (claims[0]["family_size"] - len(claims))
    corrected = holm_correction([*(claim["p_value"] for claim in claims), *others])[: len(claims)]
    found = [claim | {"p_holm": p} for claim, p in zip(claims, corrected, strict=True)]
    for claim in found:
        if claim["verdict"] == "holds alone" and claim["p_holm"] <= ERROR:
            claim |= {"verdict": "holds", "reason": lift_to_family(claim["reason"])}
    return found
