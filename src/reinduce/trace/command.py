"""`reinduce trace`: where a claim's number comes from, and whether every link still holds."""

import argparse
import json
import time
from pathlib import Path

from reinduce.config.load import as_given
from reinduce.config.resolved import settings
from reinduce.trace.chain import Chain, Refused
from reinduce.trace.tree import Node, as_lines, commands, grown


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="STUDY.CLAIM", help="the claim's name")
    parser.add_argument("--results", type=Path, help="folder of results; without it, where the configuration says")
    parser.add_argument("--json", action="store_true", help="the tree for machines, with every file")
    parser.add_argument("--command", dest="commands", action="store_true", help="the commands that remake the number")
    parser.add_argument("--strict", action="store_true", help="refuse what uncommitted sources made, too")


def run_trace(args: argparse.Namespace) -> None:
    """Print the chain from a claim to its data.

    Raises ValueError if there is no such claim, Refused, after printing, if a link does not hold.
    """
    resolved, given = as_given(args.results)
    if args.name not in resolved.claims:
        raise ValueError(f"no claim {args.name}; there are: {', '.join(resolved.claims)}")
    claim = resolved.claims[args.name]
    chain = Chain(resolved.results, settings=settings(resolved), given=given, strict=args.strict)
    file = (resolved.results / "claims" / f"{args.name}.json").as_posix()
    if chain.hash_of(file) is None:
        raise ValueError(f"{args.name} has not been judged yet; make it with: {chain.mend(file)}")
    faults = chain.faults([file])
    tree = grown(chain, [file])[0]
    if args.json:
        print(
            json.dumps({"claim": claim, "faults": [vars(fault) for fault in faults], "chain": tree.as_dict()}, indent=2)
        )
    elif args.commands:
        print("\n".join(commands(chain, file)))
    else:
        print("\n".join(told(claim, chain, tree)))
    if faults:
        raise Refused(faults)


def told(claim: dict, chain: Chain, tree: Node) -> list[str]:
    """Claim, criterion and query, then the tree, as lines."""
    verdict = json.loads((chain.root / tree.files[0]).read_text())
    criterion = claim["criterion"]
    interval = f" [{verdict['low']}, {verdict['high']}]" if verdict["low"] is not None else ", without an interval"
    said = [
        f"{claim['study']}.{claim['claim']}: {claim['says']}",
        f"  in the paper   {claim['source']['paper']}, {claim['source']['where']}: {claim['paper_value']}",
        f"  verdict        {verdict['verdict']}, {verdict['estimate']}{interval}"
        f" over {verdict['n_seeds']} seeds, at {claim['scale']} scale; control {verdict['control_verdict']}",
        f"  criterion      {verdict['criterion']}; {criterion['why']}",
        f"  stands in      workflow/studies/{claim['study']}/claims.yaml",
        "  evidence",
        *(f"    {line}" for line in claim["evidence"].strip().splitlines()),
        "",
    ]
    return said + as_lines(tree, now=time.time())
