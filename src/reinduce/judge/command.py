"""`reinduce look`: one look at a claim. `reinduce judge`: its verdict. `reinduce ledger`: all verdicts in one table."""

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from reinduce import tables
from reinduce.judge.claims import judge_claim, read_claim
from reinduce.judge.ledger import join_verdicts
from reinduce.trace.chain import Chain, Refused, refusal_file
from reinduce.trace.files import write_text
from reinduce.trace.manifest import StageOutputs
from reinduce.trace.places import find_place

log = logging.getLogger(__name__)

LOOK_KEYS = ("look", "verdict", "reason", "n_seeds", "estimate", "ci_low", "ci_high", "p_value")
"""What a verdict tells of each look."""


def add_look_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce look`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--claim", type=Path, required=True, metavar="JSON", help="the resolved claim")
    parser.add_argument("--look", type=int, required=True, metavar="N", help="which look, from 1 on")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder of results")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the look's JSON file")


def run_look(args: argparse.Namespace) -> StageOutputs:
    """Judge one claim by the seeds of a look, and write what they show.

    Args:
        args: Those of `add_look_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: The claim is wrong; the message names what.
        FileNotFoundError: Evidence is missing.
        Refused: Evidence cannot be trusted; the reasons are also written beside the ledger.
    """
    # The tables are hundreds of small files, on which several threads are slower than one.
    pa.set_cpu_count(1)
    claim = _read_named_claim(args.claim, args.name)
    try:
        row, inputs = judge_claim(claim, args.look, args.results, Chain(args.results))
    except Refused as refused:
        write_text(refusal_file(args.results), f"{args.name}: {refused}\n")
        raise
    except ValueError as error:
        raise ValueError(f"{args.name}: {error}") from None
    log.info("%s", _describe_look(args.name, claim, row))
    write_text(args.out, _to_json(row))
    return StageOutputs(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.claim, *inputs],
        outputs=[args.out],
        details={"claim": args.name, "scale": claim["scale"], "seeds": claim["looks"][args.look - 1]},
    )


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce judge`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--claim", type=Path, required=True, metavar="JSON", help="the resolved claim")
    parser.add_argument("--looks", type=Path, nargs="+", required=True, metavar="JSON", help="looks at it, in order")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the verdict's JSON file")


def run_judge(args: argparse.Namespace) -> StageOutputs:
    """Write a claim's verdict: that of its last look, with what each look found.

    Args:
        args: Those of `add_judge_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: The looks are not those of the claim, are not in order or in their place, or do not end where they
            must.
        Refused: A look cannot be trusted; the reasons are also written beside the ledger.
    """
    _read_named_claim(args.claim, args.name)
    results = args.out.parents[1]
    _require_place(args.looks, results, "look")
    try:
        Chain(results).verify(map(str, args.looks))
    except Refused as refused:
        write_text(refusal_file(results), f"{args.name}: {refused}\n")
        raise
    rows = [json.loads(path.read_text()) for path in args.looks]
    if {f"{row['study']}.{row['claim']}" for row in rows} != {args.name}:
        raise ValueError(f"{args.name}: a look is at another claim")
    if [row["look"] for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(f"{args.name}: the looks are not the first, the second and so on, each once")
    if [row["is_open"] for row in rows] != [True] * (len(rows) - 1) + [False]:
        raise ValueError(f"{args.name}: looks must go on while the claim is open, and no longer")
    taken = [{key: row[key] for key in LOOK_KEYS} for row in rows]
    write_text(args.out, _to_json(rows[-1] | {"looks": taken}))
    return StageOutputs(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.claim, *args.looks],
        outputs=[args.out],
        details={"claim": args.name, "scale": rows[-1]["scale"]},
    )


def add_ledger_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce ledger`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("--claims", type=Path, nargs="+", required=True, metavar="JSON", help="verdicts to join")
    parser.add_argument(
        "--out-dir", type=Path, required=True, metavar="DIR", help="folder for ledger.parquet and ledger.json"
    )


def run_ledger(args: argparse.Namespace) -> StageOutputs:
    """Join verdicts, with Holm's correction over the claims of each family.

    Args:
        args: Those of `add_ledger_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: A claim is given twice, or a file is not where verdicts are.
        Refused: A verdict, or what it was made from, cannot be trusted, or scales differ; the reasons are also
            written beside the ledger.
    """
    _require_place(args.claims, args.out_dir, "judge")
    try:
        Chain(args.out_dir).verify(map(str, args.claims))
        claims = join_verdicts([json.loads(path.read_text()) for path in args.claims])
    except Refused as refused:
        write_text(refusal_file(args.out_dir), f"{refused}\n")
        raise
    scale = claims[0]["scale"]
    rows = [{name: claim[name] for name in tables.schema("ledger").names} for claim in claims]
    table = tables.write_rows("ledger", rows, args.out_dir / "ledger.parquet", keep_order=True)
    refusal_file(args.out_dir).unlink(missing_ok=True)
    content = {"scale": scale, "n_claims": len(claims), "claims": claims}
    page = write_text(args.out_dir / "ledger.json", _to_json(content))
    return StageOutputs(
        manifest=args.out_dir / "ledger.manifest.json",
        inputs=args.claims,
        outputs=[table, page],
        details={"scale": scale, "n_claims": len(claims)},
    )


def _require_place(files: list[Path], results: Path, command: str) -> None:
    """Raise ValueError for the first file that lies where another command writes: it would not be traced."""
    for file in files:
        place = find_place(file.relative_to(results).as_posix()) if file.is_relative_to(results) else None
        if place is None or place.command != command:
            raise ValueError(
                f"{file}: `reinduce {command}` makes no such file in {results}; name files as the rules do, from the"
                " project's folder"
            )


def _read_named_claim(path: Path, name: str) -> dict[str, Any]:
    """Read a resolved claim; raises ValueError if it has another name."""
    claim = read_claim(path)
    if name != f"{claim['study']}.{claim['claim']}":
        raise ValueError(f"{path} is claim {claim['study']}.{claim['claim']}, not {name}")
    return claim


def _describe_look(name: str, claim: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What a look found, and what the next one adds."""
    found = f"{name}: look {row['look']} of at most {len(claim['looks'])}, {row['n_seeds']} seeds: {row['verdict']}"
    if not row["is_open"]:
        return f"{found} ({row['reason']})"
    now, then = claim["looks"][row["look"] - 1 : row["look"] + 1]
    added = {arm: sorted(set(then[arm]) - set(now[arm])) for arm in then}
    more = "; ".join(f"{arm}: {', '.join(map(str, seeds))}" for arm, seeds in added.items() if seeds)
    return f"{found} ({row['reason']}); seeds are added: {more}"


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
