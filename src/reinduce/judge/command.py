"""`reinduce judge`: one claim to its verdict. `reinduce ledger`: all verdicts to one table."""

import argparse
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from reinduce import tables
from reinduce.config.layout import SERIES_TABLES
from reinduce.judge import evidence, statistics
from reinduce.trace.chain import Chain, Fault, Refused, refusal_mark
from reinduce.trace.files import write_text
from reinduce.trace.manifest import Made

CLAIM_KEYS = {
    *("study", "claim", "scale", "seeds", "register", "says", "source", "paper_value", "unit", "figure"),
    *("reads", "with", "evidence", "criterion", "control"),
}


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--claim", type=Path, required=True, metavar="JSON", help="the resolved claim")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="the folder of results to judge by")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the verdict's JSON file")


def run_judge(args: argparse.Namespace) -> Made:
    """Judge one claim and write its verdict.

    Raises ValueError or FileNotFoundError naming what is wrong, and Refused if evidence cannot be trusted.
    """
    # Hundreds of small files: threads only get into each other's way.
    pa.set_cpu_count(1)
    claim = read_claim(args.claim)
    if args.name != f"{claim['study']}.{claim['claim']}":
        raise ValueError(f"{args.claim} is claim {claim['study']}.{claim['claim']}, not {args.name}")
    try:
        judged, inputs = judge(claim, args.results, Chain(args.results))
    except Refused as refused:
        write_text(refusal_mark(args.results), f"{args.name}: {refused}\n")
        raise
    except ValueError as error:
        raise ValueError(f"{args.name}: {error}") from None
    write_text(args.out, _to_json(judged))
    return Made(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.claim, *inputs],
        outputs=[args.out],
        details={"claim": args.name, "scale": claim["scale"], "seeds": claim["seeds"]},
    )


def read_claim(path: Path) -> dict:
    """A resolved claim; raises ValueError naming the file and the keys it lacks."""
    try:
        claim = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    lacking = sorted(CLAIM_KEYS - set(claim))
    if lacking:
        raise ValueError(f"{path}: the claim lacks {', '.join(lacking)}; resolve it again from its claims.yaml")
    return claim


def judge(claim: Mapping, results: Path, chain: Chain | None = None) -> tuple[dict, list[Path]]:
    """The claim's row of the ledger together with all it rests on, and the files read.

    `chain`: knows what may be trusted; None trusts everything. Raises Refused before anything is computed.
    """
    control = claim["control"]
    criterion = statistics.read_criterion(claim["criterion"])
    own = _ask(claim, claim["reads"], claim["with"], criterion, results, chain)
    other_reads, other_with = control.get("reads") or claim["reads"], claim["with"] | control["with"]
    other = _ask(claim, other_reads, other_with, criterion, results, chain)
    final = statistics.with_control(own["verdict"], other["verdict"], other["values"].values(), criterion)
    judged = {
        **{key: claim[key] for key in ("study", "claim", "scale", "register", "says", "unit", "figure")},
        "scope": claim.get("scope"),
        "source": f"{claim['source']['paper']}, {claim['source']['where']}",
        "paper_value": str(claim["paper_value"]),
        **dataclasses.asdict(final),
        "p_holm": None,
        "criterion": str(criterion),
        "why": claim["criterion"]["why"],
        "control": f"{_as_text(control['with'])}: {control['why']}",
        "control_verdict": other["verdict"].verdict,
        **{f"control_{key}": value for key, value in dataclasses.asdict(other["verdict"]).items() if key != "verdict"},
        "evidence": claim["evidence"],
        **{key: own[key] for key in ("values", "reads", "bindings")},
        **{f"control_{key}": other[key] for key in ("values", "reads", "bindings")},
    }
    return judged, [*own["files"], *other["files"]]


def _ask(
    claim: Mapping,
    reads: Mapping,
    bindings: Mapping,
    criterion: statistics.Criterion,
    results: Path,
    chain: Chain | None,
) -> dict:
    problem = evidence.check_query(claim["evidence"], reads, bindings)
    if problem:
        raise ValueError(problem)
    resolved = evidence.resolve(reads, claim["study"], bindings)
    expected = _expected_seeds(resolved, claim["seeds"])
    found = evidence.files(resolved, claim["seeds"], results)
    read = [*evidence.arm_files(resolved, results), *(path for paths in found.values() for path in paths)]
    if chain is not None:
        chain.refuse(map(str, read))
    values = evidence.measure(claim["evidence"], bindings, found)
    return {
        "verdict": statistics.verdict(values, expected, criterion),
        "values": values,
        "reads": resolved,
        "bindings": dict(bindings),
        "files": read,
    }


def _expected_seeds(reads: Mapping[str, list[str]], seeds: Mapping[str, list[int]]) -> list[int]:
    """Seeds that every arm read has; where whole series are read, that every arm the claim names has."""
    arms = {name for table, names in reads.items() if table not in SERIES_TABLES for name in names}
    unknown = sorted(arms - set(seeds))
    if unknown or not seeds:
        raise ValueError(f"seeds: which has {', '.join(unknown) or 'each arm'}?")
    return sorted(set.intersection(*(set(seeds[name]) for name in arms or seeds)))


def add_ledger_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--claims", type=Path, nargs="+", required=True, metavar="JSON", help="verdicts to join")
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="where ledger.parquet and .json go")


def run_ledger(args: argparse.Namespace) -> Made:
    """Join verdicts, with Holm's correction over all of them.

    Raises ValueError if a claim is there twice, Refused if one, or what it rests on, cannot be trusted, or if they
    are of different scales.
    """
    try:
        Chain(args.out_dir).refuse(map(str, args.claims))
        claims = join([json.loads(path.read_text()) for path in args.claims])
    except Refused as refused:
        write_text(refusal_mark(args.out_dir), f"{refused}\n")
        raise
    scale = claims[0]["scale"]
    rows = [{name: claim[name] for name in tables.schema("ledger").names} for claim in claims]
    table = tables.write_rows("ledger", rows, args.out_dir / "ledger.parquet", keep_order=True)
    refusal_mark(args.out_dir).unlink(missing_ok=True)
    page = write_text(
        args.out_dir / "ledger.json", _to_json({"scale": scale, "n_claims": len(claims), "claims": claims})
    )
    return Made(
        manifest=args.out_dir / "ledger.manifest.json",
        inputs=args.claims,
        outputs=[table, page],
        details={"scale": scale, "n_claims": len(claims)},
    )


def join(claims: Iterable[dict]) -> list[dict]:
    """Judged claims in the ledger's order, `p_holm` filled in.

    Raises ValueError if a claim is given twice, Refused if they are of two scales.
    """
    ordered = sorted(claims, key=lambda claim: (claim["study"], claim["register"], claim["claim"]))
    names = [f"{claim['study']}.{claim['claim']}" for claim in ordered]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"ledger: given twice: {', '.join(twice)}")
    scales = sorted({claim["scale"] for claim in ordered})
    if len(scales) > 1:
        reason = f"claims were judged at different scales: {', '.join(scales)}"
        raise Refused([Fault("the ledger", reason, "snakemake --cores all --forcerun claim")])
    corrected = statistics.holm([claim["p_value"] for claim in ordered])
    return [claim | {"p_holm": p} for claim, p in zip(ordered, corrected, strict=True)]


def _as_text(bindings: Mapping) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(bindings.items()))


def _to_json(content: Mapping) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
