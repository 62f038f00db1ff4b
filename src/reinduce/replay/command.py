"""`reinduce replay`: run again in another folder and compare. `compare`: two runs. `reference`: write a reference."""

import argparse
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reinduce.config import yaml
from reinduce.config.load import as_given, load
from reinduce.config.resolved import RESOLVED, Resolved, settings
from reinduce.replay import inventory
from reinduce.replay.compare import Comparison, VerdictChange, check_scales, compare_inventories
from reinduce.replay.format_comparison import format_comparison
from reinduce.trace import sources
from reinduce.trace.chain import CLI_OVERRIDES, Chain, format_config_options
from reinduce.trace.files import write_text

log = logging.getLogger(__name__)

REFERENCE = Path("results/reference")
EXIT_DIFFERENT = 4
"""Exit status of a comparison in which something differs."""
FRESH_FACTOR = 2.5
"""How many times the seeds a replay on other seeds has. If there is no effect, so many show with a probability of about
80 % that it is too small for the first run to have seen it (Simonsohn, 2015)."""
FRESH_SEEDS = range(1000, 1_000_000)
"""Where the first of fresh seeds is drawn from; studies start at 0, and a draw that meets the seeds of a calibration,
which would be chance, is refused when the configuration is resolved."""


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce replay`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument(
        "--claims", nargs="+", default=[], metavar="STUDY.CLAIM", help="only these claims and what they need"
    )
    parser.add_argument(
        "--results", type=Path, help="results whose settings are run again (default: those of the configuration)"
    )
    parser.add_argument(
        "--against", type=Path, help="results or a reference to compare with (default: --results, else the reference)"
    )
    parser.add_argument("--seeds", help="'fresh' for seeds that were never used, or the number of the first seed")
    parser.add_argument(
        "--times",
        type=float,
        metavar="FACTOR",
        help=f"so many times the seeds, as far as the budget allows (default: {FRESH_FACTOR} with --seeds, else 1)",
    )
    parser.add_argument("--into", type=Path, help="the folder to run in; a stopped run in it continues")
    parser.add_argument("--cores", default="all", help="number of cores (default: all)")
    parser.add_argument("--profile", help="a Snakemake profile, such as slurm")


def run_replay(args: argparse.Namespace) -> None:
    """Run the workflow in another folder and compare the results.

    Args:
        args: Those of `add_replay_arguments`.

    Raises:
        ValueError: A claim or a folder cannot be used.
        SystemExit: The run failed (status 1), or something differs (EXIT_DIFFERENT).
    """
    resolved, cli_overrides = _resolve_configuration(args.results)
    unknown = [name for name in args.claims if name not in resolved.claims]
    if unknown:
        raise ValueError(f"no claim {', '.join(unknown)}; the claims are: {', '.join(resolved.claims)}")
    ledger = resolved.results / inventory.LEDGER
    against = args.against or (resolved.results if ledger.is_file() else REFERENCE)
    reference = _read_inventory(against)
    check_scales(resolved.config.scale, reference.scale)
    if against == resolved.results:
        _warn_of_faults(resolved, cli_overrides)
    into = args.into or resolved.results / "replays" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    values = {
        **cli_overrides,
        **_override_study_folders(resolved),
        **_override_seeds(args.seeds, args.times, into, resolved.results),
        **_override_results(resolved.results),
    }
    link_project(into)
    targets = [f"{load(yaml.typed(values)).results}/claims/{name}.json" for name in args.claims]
    log.info("replay: runs in %s; continue a stopped run with: --into %s", into, into)
    run_workflow(into, values, targets, args.cores, args.profile)
    candidate = inventory.build_inventory(load(yaml.typed(values)), into)
    comparison = compare_inventories(candidate, reference, partial=bool(args.claims))
    _report_comparison(comparison, against, into / "replay.json")


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce compare`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("--results", type=Path, help="folder of results (default: that of the configuration)")
    parser.add_argument("--against", type=Path, default=REFERENCE, help="results or a reference to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole comparison to this file")


def run_compare(args: argparse.Namespace) -> None:
    """Compare results with other results or with a reference.

    Args:
        args: Those of `add_compare_arguments`.

    Raises:
        ValueError: A folder has no results, or the scales differ.
        SystemExit: Something differs (EXIT_DIFFERENT).
    """
    reference = _read_inventory(args.against)
    candidate = _read_inventory(args.results or load().results)
    _report_comparison(compare_inventories(candidate, reference), args.against, args.json)


def add_reference_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce reference`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("--results", type=Path, help="folder of results (default: that of the configuration)")
    parser.add_argument("--out", type=Path, default=REFERENCE, help="the reference's folder")


def run_reference(args: argparse.Namespace) -> None:
    """Write the reference with which other runs are compared.

    Args:
        args: Those of `add_reference_arguments`.

    Raises:
        ValueError: There are no results.
        Refused: The results cannot be trusted, or were made from uncommitted sources.
    """
    resolved, cli_overrides = as_given(args.results)
    results = resolved.results
    chain = Chain(results, settings=settings(resolved), cli_overrides=cli_overrides, strict=True)
    chain.verify([(results / "index.html").as_posix()])
    written = inventory.write_reference(inventory.build_inventory(resolved), args.out, results / inventory.LEDGER)
    for path in written:
        log.info("%s: %.0f KB", path, path.stat().st_size / 1000)


def link_project(folder: Path, root: Path = Path()) -> None:
    """Create a folder to run in, with links to the project's sources and without results.

    Args:
        folder: The folder; it may exist from an earlier call.
        root: The project's folder.

    Raises:
        ValueError: The folder has files of another purpose.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in sources.PARTS:
        link, source = folder / part, (root / part).resolve()
        if link.is_symlink() and link.resolve() == source:
            continue
        if link.is_symlink() or link.exists():
            raise ValueError(f"{link}: it is not a link to this project; give --into a new folder")
        link.symlink_to(source)


def run_workflow(
    folder: Path, values: Mapping[str, Any], targets: Iterable[str], cores: str, profile: str | None
) -> None:
    """Run the workflow in a folder.

    Args:
        folder: Where `link_project` has linked the sources.
        values: Key of config.yaml → value that overrides it.
        targets: Files to make; none for all.
        cores: Number of cores, or all.
        profile: A Snakemake profile.

    Raises:
        SystemExit: Snakemake fails.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--rerun-incomplete", "--quiet", "host", "reason"]
    command += ["--profile", profile] if profile else ["--scheduler", "greedy"]
    command += ["--config", *format_config_options(values)] if values else []
    # Rules call `reinduce`: PATH makes it that of this environment. Each process has one thread.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "PATH": path}
    done = subprocess.run([*command, "--", *targets], cwd=folder, env=environment)
    if done.returncode:
        log.error("replay: the run failed; see the messages above and the logs in %s", folder)
        raise SystemExit(1)


def _report_comparison(comparison: Comparison, against: Path, file: Path | None) -> None:
    """Print a comparison, write it to a file if there is one, and exit if something differs."""
    print("\n".join(format_comparison(comparison, against)))
    if file is not None:
        seeds = {"candidate": comparison.candidate.seeds, "reference": comparison.reference.seeds}
        content = {
            "against": str(against),
            "agrees": comparison.agrees,
            "other_seeds": comparison.other_seeds,
            "seeds": seeds,
            "artefacts": [vars(artefact) for artefact in comparison.artefacts],
            "verdicts": [_to_json_values(change) for change in comparison.verdict_changes],
        }
        write_text(file, json.dumps(content, indent=2) + "\n")
        print(f"The whole comparison: {file}")
    if not comparison.agrees:
        raise SystemExit(EXIT_DIFFERENT)


def _to_json_values(change: VerdictChange) -> dict[str, Any]:
    keys = ("verdict", "estimate", "ci_low", "ci_high", "n_seeds", "reason")
    sides = {"candidate": change.candidate, "reference": change.reference}
    rows = {side: {key: row[key] for key in keys} for side, row in sides.items()}
    found = {"claim": change.claim, "result": change.result} | rows
    return found | ({} if change.replication is None else {"replication": vars(change.replication)})


def _warn_of_faults(resolved: Resolved, cli_overrides: Mapping[str, Any]) -> None:
    """Log a warning if the results that a replay is compared with cannot be trusted."""
    chain = Chain(resolved.results, settings=settings(resolved), cli_overrides=cli_overrides)
    faults = chain.find_faults([(resolved.results / "ledger.json").as_posix()])
    if faults:
        log.warning("replay: the results that it is compared with cannot be trusted, e.g. %s", faults[0])


def _resolve_configuration(results: Path | None) -> tuple[Resolved, dict[str, Any]]:
    """The configuration to run and what the command line overrode; config.yaml alone if there are no results yet."""
    if results is None and not (load().results / CLI_OVERRIDES).is_file():
        return load(), {}
    return as_given(results)


def _read_inventory(folder: Path) -> inventory.Inventory:
    """The inventory of results or of a reference; raises ValueError or FileNotFoundError for anything else."""
    if (folder / inventory.INVENTORY).is_file():
        return inventory.read_reference(folder)
    recorded = folder / RESOLVED
    if not recorded.is_file():
        raise ValueError(f"{folder}: it holds neither results nor a reference; make some, or give another folder")
    return inventory.build_inventory(load(json.loads(recorded.read_text()) | {"results": str(folder)}))


def _override_study_folders(resolved: Resolved) -> dict[str, list[str]]:
    """Further folders of studies by absolute paths: a replay runs in another folder than the project."""
    return {"study_folders": resolved.study_folders} if resolved.study_folders else {}


def _override_results(results: Path) -> dict[str, str]:
    """A folder of results below the one to run in, if the configured one is absolute and would be overwritten."""
    return {"results": "results"} if results.is_absolute() else {}


def _override_seeds(seeds: str | None, times: float | None, into: Path, results: Path) -> dict[str, float]:
    """The first seed and how many as overrides of config.yaml; a replay that continues keeps its fresh seeds."""
    if times is not None and not 1 <= times < 1000:
        raise ValueError(f"--times: a number from 1 on, not {times:g}")
    if seeds is None:
        return {} if times is None else {"seed_factor": times}
    factor = {"seed_factor": FRESH_FACTOR if times is None else times}
    recorded = into / results / CLI_OVERRIDES
    if seeds == "fresh" and recorded.is_file():
        return {"first_seed": json.loads(recorded.read_text())["first_seed"]} | factor
    if seeds != "fresh" and not seeds.isdigit():
        raise ValueError(f"--seeds: 'fresh' or the number of the first seed, not {seeds!r}")
    first = secrets.choice(FRESH_SEEDS) if seeds == "fresh" else int(seeds)
    log.info("replay: the first seed is %d; repeat with: --seeds %d", first, first)
    return {"first_seed": first} | factor
