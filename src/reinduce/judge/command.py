"""`reinduce judge`: one claim to its verdict. `reinduce ledger`: all verdicts to one table."""

import argparse
import json
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


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce judge`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--claim", type=Path, required=True, metavar="JSON", help="the resolved claim")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder of results")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the verdict's JSON file")


def run_judge(args: argparse.Namespace) -> StageOutputs:
    """Judge one claim and write its verdict.

    Args:
        args: Those of `add_judge_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: The claim is wrong; the message names what.
        FileNotFoundError: Evidence is missing.
        Refused: Evidence cannot be trusted; the reasons are also written beside the ledger.
    """
    # The tables are hundreds of small files, on which several threads are slower than one.
    pa.set_cpu_count(1)
    claim = read_claim(args.claim)
    if args.name != f"{claim['study']}.{claim['claim']}":
        raise ValueError(f"{args.claim} is claim {claim['study']}.{claim['claim']}, not {args.name}")
    try:
        row, inputs = judge_claim(claim, args.results, Chain(args.results))
    except Refused as refused:
        write_text(refusal_file(args.results), f"{args.name}: {refused}\n")
        raise
    except ValueError as error:
        raise ValueError(f"{args.name}: {error}") from None
    write_text(args.out, _to_json(row))
    return StageOutputs(
        manifest=args.out.with_suffix(".manifest.json"),
        inputs=[args.claim, *inputs],
        outputs=[args.out],
        details={"claim": args.name, "scale": claim["scale"], "seeds": claim["seeds"]},
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
    """Join verdicts, with Holm's correction over all of them.

    Args:
        args: Those of `add_ledger_arguments`.

    Returns:
        Files read and written.

    Raises:
        ValueError: A claim is given twice.
        Refused: A verdict, or what it was made from, cannot be trusted, or scales differ; the reasons are also
            written beside the ledger.
    """
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


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
