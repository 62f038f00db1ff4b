"""`reinduce crate`: export a run as a Workflow Run RO-Crate, which archives and tools read without Snakemake.

The crate holds the workflow, its settings, every table, verdict, figure and manifest, and for
each job the software, the inputs and the outputs. Profiles: Process Run Crate 0.5, Workflow Run
Crate 0.5 and Workflow RO-Crate 1.0 (https://w3id.org/ro/wfrun).
"""

import argparse
import calendar
import importlib.metadata
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from reinduce.config.load import as_given
from reinduce.config.resolved import settings
from reinduce.trace.chain import Chain
from reinduce.trace.files import sha256

log = logging.getLogger(__name__)

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
WORKFLOW = "Snakefile"
WORKFLOW_PARTS = (
    *("README.md", "LICENSE", "CITATION.cff", "config.yaml", "envs/lock.txt"),
    *("workflow/**/*", "src/**/*.py"),
)
"""Patterns of the workflow's files beside its main file."""
LEFT_OUT = ("logs", "benchmarks", "replays", "resume", "reference")
"""Folders below the results that are not part of the run."""
LARGE_SUFFIXES = (".safetensors", ".bin")
"""Weights and training tokens: the crate records their hashes, and contains the files only on request."""
MEDIA_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".html": "text/html",
    ".ipynb": "application/x-ipynb+json",
    ".safetensors": "application/octet-stream",
    ".bin": "application/octet-stream",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".yaml": "application/yaml",
}
COMPLETED = "http://schema.org/CompletedActionStatus"
LICENSE = "https://spdx.org/licenses/BSD-3-Clause"
VERSION = importlib.metadata.version("reinduce")

Content = Mapping[str, Any]
"""The content of a manifest."""


def add_crate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reinduce crate`.

    Args:
        parser: The command's parser; added to.
    """
    parser.add_argument("--results", type=Path, help="folder of results (default: that of the configuration)")
    parser.add_argument("--out", type=Path, required=True, help="a new folder, or a new file that ends with .zip")
    parser.add_argument("--large", action="store_true", help="include weights and training tokens")
    parser.add_argument("--agent", default="", help="who ran the workflow: a URL such as an ORCID iD, or a name")


def run_crate(args: argparse.Namespace) -> None:
    """Write the crate of a run.

    Args:
        args: Those of `add_crate_arguments`.

    Raises:
        ValueError: There is no ledger, or `--out` exists.
        Refused: The ledger, or what it was made from, cannot be trusted.
    """
    resolved, cli_overrides = as_given(args.results)
    results = resolved.results
    if not (results / "ledger.json").is_file():
        raise ValueError(f"{results}: there is no ledger yet; run the workflow, then export it")
    if args.out.exists():
        raise ValueError(f"{args.out}: it exists already; give --out another name")
    chain = Chain(results, settings=settings(resolved), cli_overrides=cli_overrides)
    chain.verify([(results / "index.html").as_posix()])
    crate = build_crate(results, Path(), args.large, args.agent)
    (crate.write_zip if args.out.suffix == ".zip" else crate.write)(args.out)
    jobs = sum("CreateAction" in str(entity.type) for entity in crate.contextual_entities) - 1
    log.info("%s: %d files, %d jobs", args.out, sum(1 for _ in crate.data_entities), jobs)


def build_crate(results: Path, root: Path, large: bool, agent: str) -> ROCrate:
    """Build the crate of a project's results, without writing it.

    Args:
        results: Folder of results, relative to `root`.
        root: The project's folder.
        large: Whether weights and training tokens are included.
        agent: Who ran the workflow: a URL, a name, or nothing.

    Returns:
        The crate.

    Raises:
        ValueError: The results are outside the project's folder.
    """
    if not (root / results).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{results}: only results within the project's folder can be exported")
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    manifests = [json.loads(path.read_text()) for path in sorted((root / results).rglob("*manifest.json"))]
    _describe_crate(crate, root / results, manifests)
    workflow = crate.add_workflow(root / WORKFLOW, WORKFLOW, main=True, lang="snakemake")
    workflow["name"], workflow["encodingFormat"] = "reinduce", "text/x-python"
    workflow["version"] = VERSION
    files = _add_files(crate, results, root, large)
    if "README.md" in files:
        files["README.md"]["about"] = crate.root_dataset
    workflow["hasPart"] = [file for name, file in files.items() if name.startswith("workflow/rules/")]
    facts = {"@type": "Person", "name": agent}
    person = crate.add(ContextEntity(crate, agent if "://" in agent else "#agent", facts)) if agent else None
    _add_run(crate, workflow, files, results, manifests, person)
    for number, content in enumerate(manifests, start=1):
        _add_job(crate, number, content, files, person)
    return crate


def _describe_crate(crate: ROCrate, results: Path, manifests: Sequence[Content]) -> None:
    """Set name, description, license, date and profiles of a crate."""
    ledger = json.loads((results / "ledger.json").read_text())
    verdicts = [claim["verdict"] for claim in ledger["claims"]]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in dict.fromkeys(verdicts))
    crate.name = f"reinduce: {ledger['n_claims']} claims at {ledger['scale']} scale"
    crate.description = (
        "Claims about induction heads and in-context learning, derived again: data, trainings, scores, "
        f"ablations, verdicts and figures. Verdicts: {counts}."
    )
    terms = {"@type": "CreativeWork", "name": "BSD 3-Clause", "description": "The terms are in LICENSE."}
    crate.license = crate.add(ContextEntity(crate, LICENSE, terms))
    crate.datePublished = time.strftime("%Y-%m-%d", time.gmtime(max(map(_end_time, manifests))))
    for url, name in PROFILES.items():
        version = url.rpartition("/")[2]
        profile = ContextEntity(crate, url, {"@type": "CreativeWork", "name": name, "version": version})
        crate.root_dataset.append_to("conformsTo", crate.add(profile))


def _add_files(crate: ROCrate, results: Path, root: Path, large: bool) -> dict[str, Entity]:
    """Add the sources and all results except those of LEFT_OUT; returns name below the project → entity."""
    paths = {path for pattern in WORKFLOW_PARTS for path in root.glob(pattern) if path.is_file()}
    below = [path for path in (root / results).rglob("*") if path.is_file()]
    paths |= {path for path in below if not set(LEFT_OUT) & set(path.relative_to(root / results).parts)}
    added = {}
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if "__pycache__" in name or (path.suffix in LARGE_SUFFIXES and not large):
            continue
        facts = {"name": name, "contentSize": str(path.stat().st_size), "sha256": sha256(path)}
        facts |= {"encodingFormat": MEDIA_TYPES.get(path.suffix, "text/plain")}
        added[name] = crate.add_file(path, name, properties=facts)
    return added


def _add_run(
    crate: ROCrate,
    workflow: Entity,
    files: Mapping[str, Entity],
    results: Path,
    manifests: Sequence[Content],
    agent: Entity | None,
) -> None:
    """Add the whole run: its inputs and outputs by the parameters of the workflow."""
    configuration = crate.add_formal_parameter("configuration", "File", description="what runs", valueRequired=True)
    verdicts = crate.add_formal_parameter("ledger", "File", description="every claim with its verdict")
    workflow["input"], workflow["output"] = configuration, verdicts
    config, ledger = files["config.yaml"], files[(results / "ledger.json").as_posix()]
    config["exampleOfWork"], ledger["exampleOfWork"] = configuration, verdicts
    facts = {
        "name": crate.name,
        "description": "The whole workflow; its jobs are #job-1, #job-2 and so on.",
        "startTime": _format_time(min(map(_start_time, manifests))),
        "endTime": _format_time(max(map(_end_time, manifests))),
        "actionStatus": COMPLETED,
    }
    names = [(results / file).as_posix() for file in ("ledger.parquet", "index.html")]
    pages = [files[name] for name in names if name in files]
    action = crate.add_action(workflow, "#run", object=config, result=[ledger, *pages], properties=facts)
    if agent is not None:
        action["agent"] = crate.root_dataset["author"] = agent
    crate.root_dataset.append_to("mentions", action)


def _add_job(crate: ROCrate, number: int, content: Content, files: Mapping[str, Entity], agent: Entity | None) -> None:
    """Add one job: its software, inputs and outputs."""
    stage = content["modules"][0].split(".")[1]
    # If sources changed between two runs, one folder holds results of two versions of a stage.
    identifier = f"#{stage}-{content['source_digest']}"
    software = {
        "@type": "SoftwareApplication",
        "name": f"reinduce {stage}",
        "softwareVersion": f"{VERSION}, sources {content['source_digest']}",
    }
    tool = crate.get(identifier) or crate.add(ContextEntity(crate, identifier, software))
    facts = {
        "name": " ".join([content["rule"] or "by hand", *content["wildcards"]]),
        "description": content["command"],
        "startTime": _format_time(_start_time(content)),
        "endTime": _format_time(_end_time(content)),
        "actionStatus": COMPLETED,
    }
    inputs, outputs = (
        [_find_entity(crate, name, recorded, files) for name, recorded in content[side].items()]
        for side in ("inputs", "outputs")
    )
    facts |= {"agent": agent} if agent is not None else {}
    action = crate.add_action(
        tool, f"#job-{number}", object=_unwrap_single(inputs), result=_unwrap_single(outputs), properties=facts
    )
    crate.root_dataset.append_to("mentions", action)


def _unwrap_single(entities: list[Entity]) -> Entity | list[Entity]:
    """The entity itself where there is only one, as RO-Crate writes it."""
    return entities[0] if len(entities) == 1 else entities


def _find_entity(crate: ROCrate, name: str, recorded: Content, files: Mapping[str, Entity]) -> Entity:
    """The entity of a file; for a file that the crate does not contain, one with its hash."""
    if name in files:
        return files[name]
    identifier = f"#{name}"
    facts = {"@type": "CreativeWork", "name": name, "sha256": recorded["sha256"]}
    facts |= {"contentSize": str(recorded["bytes"])}
    return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, facts))


def _start_time(content: Content) -> float:
    """When a command started, in seconds since 1970."""
    return calendar.timegm(time.strptime(content["started"], "%Y-%m-%dT%H:%M:%SZ"))


def _end_time(content: Content) -> float:
    """When a command ended, in seconds since 1970."""
    return _start_time(content) + float(content["seconds"])


def _format_time(seconds: float) -> str:
    """A time in ISO 8601, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
