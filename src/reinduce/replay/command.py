"""`reinduce replay`: run again in another folder. `compare`: two runs. `reference`: what others compare theirs with."""

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

from reinduce.config import yaml
from reinduce.config.layout import GIVEN
from reinduce.config.load import as_given, load, tolerances
from reinduce.config.resolved import RESOLVED, Resolved, settings
from reinduce.replay import inventory
from reinduce.replay.compare import Comparison, Turn, check_scales, compared
from reinduce.replay.told import told
from reinduce.trace import sources
from reinduce.trace.chain import Chain, config_options
from reinduce.trace.files import write_text

log = logging.getLogger(__name__)

REFERENCE = Path("results/reference")
STATUS = 4
"""Exit status of a comparison in which something came out differently."""
NEVER_USED = range(1000, 1_000_000)
"""From where the first of fresh seeds is drawn; studies start at 0, their calibrations stayed below 1000."""


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--claims", nargs="+", default=[], metavar="STUDY.CLAIM", help="only these, and what they need")
    parser.add_argument("--results", type=Path, help="whose settings are run again; without it, as configured")
    parser.add_argument("--against", type=Path, help="results or a reference; without it, --results or the reference")
    parser.add_argument("--seeds", help="'fresh' for replicates never used before, or the number of the first")
    parser.add_argument("--into", type=Path, help="the folder to run in; one that was stopped goes on")
    parser.add_argument("--cores", default="all", help="how many cores")
    parser.add_argument("--profile", help="a profile of Snakemake, such as slurm")


def run_replay(args: argparse.Namespace) -> None:
    """Run in a folder of its own what is needed, then compare.

    Raises ValueError for a claim or folder that cannot be used, SystemExit with STATUS if
    something came out differently.
    """
    resolved, given = _asked(args.results)
    unknown = [name for name in args.claims if name not in resolved.claims]
    if unknown:
        raise ValueError(f"no claim {', '.join(unknown)}; there are: {', '.join(resolved.claims)}")
    own = resolved.results / inventory.LEDGER
    against = args.against or (resolved.results if own.is_file() else REFERENCE)
    there = _taken(against)
    check_scales(resolved.config.scale, there.scale)
    if against == resolved.results:
        _warn_of_faults(resolved, given)
    into = args.into or resolved.results / "replays" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    values = given | _seeds(args.seeds, into, resolved.results) | _within(resolved.results)
    place(into)
    targets = [f"{load(yaml.typed(values)).results}/claims/{name}.json" for name in args.claims]
    log.info("replay: in %s; go on after a stop with: --into %s", into, into)
    run_there(into, values, targets, args.cores, args.profile)
    here = inventory.taken(load(yaml.typed(values)), into)
    _finish(compared(here, there, tolerances(), partial=bool(args.claims)), against, into / "replay.json")


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, help="folder of results; without it, where the configuration says")
    parser.add_argument("--against", type=Path, default=REFERENCE, help="other results, or a reference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole comparison there")


def run_compare(args: argparse.Namespace) -> None:
    """Compare results with others, or with the reference; raises as run_replay does."""
    resolved, _ = as_given(args.results)
    there = _taken(args.against)
    _finish(compared(inventory.taken(resolved), there, tolerances()), args.against, args.json)


def add_reference_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, help="folder of results; without it, where the configuration says")
    parser.add_argument("--out", type=Path, default=REFERENCE, help="the reference's folder")


def run_reference(args: argparse.Namespace) -> None:
    """Write the reference that others' runs are compared with; raises Refused if these results cannot be trusted."""
    resolved, given = as_given(args.results)
    results = resolved.results
    Chain(results, settings=settings(resolved), given=given, strict=True).refuse([(results / "index.html").as_posix()])
    for path in inventory.write(inventory.taken(resolved), args.out, results / inventory.LEDGER):
        log.info("%s: %.0f KB", path, path.stat().st_size / 1000)


def place(folder: Path, root: Path = Path()) -> None:
    """Make a folder to run in: the project's own files, without results. Raises ValueError if another use is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in sources.PARTS:
        link, source = folder / part, (root / part).resolve()
        if link.is_symlink() and link.resolve() == source:
            continue
        if link.is_symlink() or link.exists():
            raise ValueError(f"{link}: it is not this project's; give --into a new folder")
        link.symlink_to(source)


def run_there(folder: Path, values: Mapping, targets: Iterable[str], cores: str, profile: str | None) -> None:
    """Run the workflow there; raises SystemExit with Snakemake's status if it fails."""
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--quiet", "host", "reason"]
    command += ["--profile", profile] if profile else ["--scheduler", "greedy"]
    command += ["--config", *config_options(values)] if values else []
    # Rules call `reinduce`: that of this environment, one thread a process.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ, "PATH": path}
    done = subprocess.run([*command, "--", *targets], cwd=folder, env=environment)
    if done.returncode:
        log.error("replay: it stopped; what is wrong stands above and in the logs below %s", folder)
        raise SystemExit(1)


def _finish(comparison: Comparison, against: Path, file: Path | None) -> None:
    print("\n".join(told(comparison, against)))
    if file is not None:
        content = {
            "against": str(against),
            "agrees": comparison.agrees,
            "other_seeds": comparison.other_seeds,
            "seeds": {"here": comparison.here.seeds, "there": comparison.there.seeds},
            "artefacts": [vars(one) for one in comparison.artefacts],
            "verdicts": [{"claim": turn.claim, "result": turn.result} | _both(turn) for turn in comparison.turns],
        }
        write_text(file, json.dumps(content, indent=2) + "\n")
        print(f"All of it: {file}")
    if not comparison.agrees:
        raise SystemExit(STATUS)


def _both(turn: Turn) -> dict:
    keys = ("verdict", "estimate", "low", "high", "n_seeds", "reason")
    return {side: {key: row[key] for key in keys} for side, row in (("here", turn.here), ("there", turn.there))}


def _warn_of_faults(resolved: Resolved, given: Mapping) -> None:
    faults = Chain(resolved.results, settings=settings(resolved), given=given).faults(
        [(resolved.results / "ledger.json").as_posix()]
    )
    if faults:
        log.warning("replay: what it is compared with no longer holds, e.g. %s", faults[0])


def _asked(results: Path | None) -> tuple[Resolved, dict]:
    """The configuration to run, and what the command line said of it; plain where nothing has been made yet."""
    if results is None and not (load().results / GIVEN).is_file():
        return load(), {}
    return as_given(results)


def _taken(folder: Path) -> inventory.Inventory:
    """The inventory of results, or of a reference; raises ValueError or FileNotFoundError for anything else."""
    if (folder / inventory.INVENTORY).is_file():
        return inventory.read(folder)
    noted = folder / RESOLVED
    if not noted.is_file():
        raise ValueError(f"{folder}: no results are here, nor a reference; make some, or give another folder")
    return inventory.taken(load(json.loads(noted.read_text()) | {"results": str(folder)}))


def _within(results: Path) -> dict:
    """Results that lie at one place of the machine would be overwritten."""
    return {"results": "results"} if results.is_absolute() else {}


def _seeds(asked: str | None, into: Path, results: Path) -> dict:
    """What the command line would say for these seeds; a replay that goes on keeps its own."""
    if asked is None:
        return {}
    noted = into / results / GIVEN
    if asked == "fresh" and noted.is_file():
        return {"first_seed": json.loads(noted.read_text())["first_seed"]}
    if asked != "fresh" and not asked.isdigit():
        raise ValueError(f"--seeds: 'fresh' or the number of the first, not {asked!r}")
    first = secrets.choice(NEVER_USED) if asked == "fresh" else int(asked)
    log.info("replay: seeds from %d on; the same again with: --seeds %d", first, first)
    return {"first_seed": first}
