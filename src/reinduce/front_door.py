"""What is checked before a job starts; unlike a stage, it may know configuration and judge at once."""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path

from reinduce.config import yaml
from reinduce.config.load import load
from reinduce.config.resolved import Resolved, changed_claims
from reinduce.config.validate import ConfigError


def resolve(values: Mapping, root: Path = Path()) -> Resolved:
    """The resolved configuration, the command line's `values` laid over config.yaml, once new or changed
    queries can be asked.

    Raises ConfigError with everything that is wrong.
    """
    resolved = load(yaml.typed(dict(values)), root)
    _ask(changed_claims(resolved))
    return resolved


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")


def run_check(args: argparse.Namespace) -> None:
    """Validate every file and every query, and print what the configuration asks for."""
    resolved = load(root=args.root)
    _ask(resolved.claims.values())
    print(f"scale {resolved.config.scale}, results in {resolved.results}")
    for name, run in resolved.runs.items():
        seeds = f"seeds {run.seeds[0]} to {run.seeds[-1]}"
        print(f"  {name}: {seeds}, {run.arm.train.steps} steps, {len(run.steps)} checkpoints each")
    print(f"  {len(resolved.claims)} claims")


def _ask(claims: Collection[Mapping]) -> None:
    if not claims:
        return
    # Every job starts here, and hardly any has a new query: no database is imported for those.
    from reinduce.judge.evidence import check_claims

    # A query that cannot be asked should not be found out after a night of training.
    problems = check_claims(claims)
    if problems:
        raise ConfigError(problems)
