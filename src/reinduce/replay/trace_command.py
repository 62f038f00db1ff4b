"""`reinduce trace`: print where a claim's number comes from, and check that every link still holds."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reinduce.config.load import as_given
from reinduce.config.resolved import settings
from reinduce.trace.chain import Chain, Refused
from reinduce.trace.tree import Node, build_tree, format_tree, list_commands


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce trace`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--results", type=Path, help="folder of results (default: that of the configuration)")
    parser.add_argument("--json", action="store_true", help="print the tree as JSON, with every file")
    parser.add_argument("--command", dest="commands", action="store_true", help="print the commands that make it again")
    parser.add_argument("--strict", action="store_true", help="also refuse results of uncommitted sources")


def run_trace(args: argparse.Namespace) -> None:
    """Print the chain from a claim to its data.

    Args:
        args: Those of `add_trace_arguments`.

    Raises:
        ValueError: There is no such claim, or it has not been judged.
        Refused: A link does not hold; the chain is printed first.
    """
    resolved, cli_overrides = as_given(args.results)
    if args.name not in resolved.claims:
        raise ValueError(f"no claim {args.name}; the claims are: {', '.join(resolved.claims)}")
    claim = resolved.claims[args.name]
    chain = Chain(resolved.results, settings=settings(resolved), cli_overrides=cli_overrides, strict=args.strict)
    file = (resolved.results / "claims" / f"{args.name}.json").as_posix()
    if chain.hash_file(file) is None:
        raise ValueError(f"{args.name} has not been judged yet; make it with: {chain.fix_command(file)}")
    faults = chain.find_faults([file])
    tree = build_tree(chain, [file])[0]
    if args.json:
        content = {"claim": claim, "faults": [vars(fault) for fault in faults], "chain": tree.as_dict()}
        print(json.dumps(content, indent=2))
    elif args.commands:
        print("\n".join(list_commands(chain, file)))
    else:
        verdict = json.loads((chain.root / file).read_text())
        print("\n".join(format_trace(claim, verdict, tree, now=time.time())))
    if faults:
        raise Refused(faults)


def format_trace(claim: Mapping[str, Any], verdict: Mapping[str, Any], tree: Node, now: float) -> list[str]:
    """Format a claim, its criterion and its query, then the tree.

    Args:
        claim: The resolved claim.
        verdict: The content of its verdict's file.
        tree: The files that the verdict was made from.
        now: The present time in seconds since 1970.

    Returns:
        Lines of text.
    """
    interval = ", without an interval"
    if verdict["ci_low"] is not None:
        interval = f" [{verdict['ci_low']}, {verdict['ci_high']}]"
    lines = [
        f"{claim['study']}.{claim['claim']}: {claim['statement']}",
        f"  in the paper   {claim['source']['paper']}, {claim['source']['where']}: {claim['paper_value']['text']}",
        f"  verdict        {verdict['verdict']}, {verdict['estimate']}{interval}"
        f" over {verdict['n_seeds']} seeds, at {claim['scale']} scale; control {verdict['control_verdict']}",
        f"  criterion      {verdict['criterion']}; {claim['criterion']['why']}",
        f"  defined in     workflow/studies/{claim['study']}/claims.yaml",
        "  evidence",
        *(f"    {line}" for line in claim["evidence"].strip().splitlines()),
        "",
    ]
    return lines + format_tree(tree, now=now)
