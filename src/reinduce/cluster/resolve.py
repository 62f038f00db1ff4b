"""Resolves and checks the whole configuration before any job starts.

This module is above the stages, not in `reinduce.config`, because it needs both the configuration and the judge: the
judge checks the SQL of each claim, and `reinduce.config` lies below the stages and imports none of them.
"""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path

from reinduce.config import yaml
from reinduce.config.find import find_all
from reinduce.config.load import load
from reinduce.config.resolved import Resolved, changed_claims
from reinduce.config.user_config import Budget
from reinduce.config.validate import ConfigError, note_unknown
from reinduce.model.sites import METRIC_SITES, site_kind

UNLIMITED = {"looks": None, "budget": {"seeds": None, "hours": None}}
"""Values of config.yaml with which every claim has all its looks."""


def resolve(values: Mapping, root: Path = Path()) -> Resolved:
    """Resolve the configuration and check the queries of claims that are new or have changed.

    Args:
        values: the command line's values, which override those of config.yaml.
        root: the project's folder.

    Returns:
        The resolved configuration.

    Raises:
        ConfigError: with every problem that was found.
    """
    resolved = load(yaml.typed(dict(values)), root)
    _check_metrics(resolved)
    _check_queries(changed_claims(resolved))
    return resolved


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reinduce check`."""
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    parser.add_argument("--scale", help="another scale than that of config.yaml")


def run_check(args: argparse.Namespace) -> None:
    """Check every configuration file and every query, and print which runs are configured.

    Raises:
        ConfigError: with every problem that was found.
    """
    values = {} if args.scale is None else {"scale": args.scale}
    resolved = load(values, args.root)
    _check_metrics(resolved)
    _check_queries(resolved.claims.values())
    notes = _check_seeds(resolved, values, args.root)
    print(f"scale {resolved.config.scale}, results in {resolved.results}")
    for name, run in resolved.runs.items():
        seeds = f"seeds {run.seeds[0]} to {run.seeds[-1]}"
        seeds += f", up to {run.further[-1][-1]} for claims that they leave undecided" if run.further else ""
        print(f"  {name}: {seeds}, {run.arm.train.steps} steps, {len(run.steps)} checkpoints each")
    print("\n".join([f"  {len(resolved.claims)} claims", *notes]))


def _check_metrics(resolved: Resolved) -> None:
    """Check that the metrics of each study can be measured: a misspelt site or set must not be found only by a job."""
    problems: list[str] = []
    for study in resolved.studies:
        tasks = {run.arm.task: run.task for run in resolved.runs.values() if run.arm.study == study}
        for metric in find_all("metric", study).values():
            if metric.owner != study:
                continue
            where = f"study {study}: metric {metric.name!r}"
            note_unknown(map(site_kind, metric.sites), METRIC_SITES, f"{where}: sites", problems)
            if tasks and not any(set(metric.sets) <= set(task.evaluation_sets) for task in tasks.values()):
                there = "; ".join(f"{name} has {', '.join(task.evaluation_sets)}" for name, task in tasks.items())
                wanted = ", ".join(metric.sets)
                problems.append(f"{where}: no task of the study's arms has the evaluation sets {wanted}: {there}")
    if problems:
        raise ConfigError(problems)


def _check_seeds(resolved: Resolved, values: Mapping, root: Path) -> list[str]:
    """Check that the seeds of all looks can decide every claim, and return notes on what they cannot do.

    Where fewer looks or a budget are asked for, claims that these leave undecided are a note; those that the studies'
    own seeds cannot decide are wrong there too.
    """
    if not resolved.is_judged:
        return []
    from reinduce.judge.checks import check_seeds, list_alone

    limited = resolved.config.looks is not None or resolved.config.budget != Budget()
    whole = load({**values, **UNLIMITED}, root) if limited else resolved
    problems = check_seeds(whole.claims.values())
    if problems:
        raise ConfigError(problems)
    undecidable = [problem.split(":")[0] for problem in check_seeds(resolved.claims.values())]
    alone = [name for name in list_alone(resolved.claims.values()) if name not in undecidable]
    notes = {
        "looks and budget leave too few seeds to decide": undecidable,
        "with these seeds at best `holds alone`, without the error of its family": alone,
    }
    return [f"  {what}: {', '.join(names)}" for what, names in notes.items() if names]


def _check_queries(claims: Collection[Mapping]) -> None:
    """Check that the queries of claims can be run: a wrong one must not be found only after a night of training."""
    if not claims:
        return
    # Every job resolves the configuration, and few have a new query: the others need not import a database.
    from reinduce.judge.checks import check_claims

    problems = check_claims(claims)
    if problems:
        raise ConfigError(problems)
