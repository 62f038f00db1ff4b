"""`reinduce crate`: a run as a Workflow Run RO-Crate, for archives and for machines that know no Snakemake.

The crate holds the workflow, its settings, every table, verdict, figure and manifest, and says
of each job what it was made with and what it read and wrote. Profiles: Process Run Crate 0.5,
Workflow Run Crate 0.5 and Workflow RO-Crate 1.0 (https://w3id.org/ro/wfrun).
"""

import argparse
import calendar
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rocrate.model import ContextEntity
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
SOURCES = ("README.md", "LICENSE", "CITATION.cff", "config.yaml", "envs/lock.txt", "workflow/**/*", "src/**/*.py")
"""What the workflow is, beside its main file."""
FORMATS = {
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
LARGE = (".safetensors", ".bin")
"""Weights and training tokens: named with their hashes, and carried along only if asked for."""
WORKFLOW = "Snakefile"
VERSION = importlib.metadata.version("reinduce")


def add_crate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, help="folder of results; without it, where the configuration says")
    parser.add_argument("--out", type=Path, required=True, help="a new folder, or a file that ends with .zip")
    parser.add_argument("--large", action="store_true", help="with weights and training tokens")
    parser.add_argument("--agent", default="", help="who ran it, e.g. an ORCID iD as a URL, or a name")


def run_crate(args: argparse.Namespace) -> None:
    """Write the crate.

    Raises ValueError if there is no ledger or the place is taken, Refused if the ledger, or
    what it rests on, cannot be trusted.
    """
    resolved, given = as_given(args.results)
    results = resolved.results
    if not (results / "ledger.json").is_file():
        raise ValueError(f"{results}: there is no ledger yet; run the workflow, then export it")
    if args.out.exists():
        raise ValueError(f"{args.out}: it is there already; give --out another name")
    Chain(results, settings=settings(resolved), given=given).refuse([(results / "index.html").as_posix()])
    crate = made(results, Path(), args.large, args.agent)
    (crate.write_zip if args.out.suffix == ".zip" else crate.write)(args.out)
    jobs = sum("CreateAction" in str(entity.type) for entity in crate.contextual_entities) - 1
    log.info("%s: %d files, %d jobs", args.out, sum(1 for _ in crate.data_entities), jobs)


def made(results: Path, root: Path, large: bool, agent: str) -> ROCrate:
    """The crate of a project's results, not yet written; raises ValueError if they lie outside of the project."""
    if not (root / results).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{results}: only results that lie within the project's folder can be exported")
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    manifests = {path: json.loads(path.read_text()) for path in sorted((root / results).rglob("*manifest.json"))}
    _describe(crate, root / results, manifests.values())
    workflow = crate.add_workflow(root / WORKFLOW, WORKFLOW, main=True, lang="snakemake")
    workflow["name"], workflow["encodingFormat"] = "reinduce", "text/x-python"
    workflow["version"] = VERSION
    files = _files(crate, results, root, large)
    if "README.md" in files:
        files["README.md"]["about"] = crate.root_dataset
    workflow["hasPart"] = [file for name, file in files.items() if name.startswith("workflow/rules/")]
    facts = {"@type": "Person", "name": agent}
    person = crate.add(ContextEntity(crate, agent if "://" in agent else "#agent", facts)) if agent else None
    _run(crate, workflow, files, results, manifests.values(), person)
    for place, told in enumerate(manifests.values(), start=1):
        _job(crate, place, told, files, person)
    return crate


def _describe(crate: ROCrate, results: Path, manifests: Iterable[Mapping]) -> None:
    ledger = json.loads((results / "ledger.json").read_text())
    verdicts = [claim["verdict"] for claim in ledger["claims"]]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in dict.fromkeys(verdicts))
    crate.name = f"reinduce: {ledger['n_claims']} claims at {ledger['scale']} scale"
    crate.description = (
        "Claims about induction heads and in-context learning, derived again: data, trainings, scores, "
        f"ablations, verdicts and figures. Verdicts: {counts}."
    )
    terms = {"@type": "CreativeWork", "name": "BSD 3-Clause", "description": "What it allows stands in LICENSE."}
    crate.license = crate.add(ContextEntity(crate, LICENSE, terms))
    crate.datePublished = time.strftime("%Y-%m-%d", time.gmtime(max(map(_ended, manifests))))
    for url, name in PROFILES.items():
        version = url.rpartition("/")[2]
        profile = ContextEntity(crate, url, {"@type": "CreativeWork", "name": name, "version": version})
        crate.root_dataset.append_to("conformsTo", crate.add(profile))


def _files(crate: ROCrate, results: Path, root: Path, large: bool) -> dict[str, object]:
    """Name below the project → its entity: the sources, and all results but logs, timings and replays."""
    paths = {path for pattern in SOURCES for path in root.glob(pattern) if path.is_file()}
    made = [path for path in (root / results).rglob("*") if path.is_file()]
    aside = ("logs", "benchmarks", "replays", "resume", "reference")
    paths |= {path for path in made if not set(aside) & set(path.relative_to(root / results).parts)}
    found = {}
    for path in sorted(paths):
        name = path.relative_to(root).as_posix()
        if "__pycache__" in name or (path.suffix in LARGE and not large):
            continue
        facts = {"name": name, "contentSize": str(path.stat().st_size), "sha256": sha256(path)}
        facts |= {"encodingFormat": FORMATS.get(path.suffix, "text/plain")}
        found[name] = crate.add_file(path, name, properties=facts)
    return found


def _run(crate: ROCrate, workflow, files: Mapping, results: Path, manifests: Iterable[Mapping], agent) -> None:
    """What the whole run read and wrote, by the parameters of the workflow."""
    configured = crate.add_formal_parameter("configuration", "File", description="what runs", valueRequired=True)
    verdicts = crate.add_formal_parameter("ledger", "File", description="every claim with its verdict")
    workflow["input"], workflow["output"] = configured, verdicts
    given, ledger = files["config.yaml"], files[(results / "ledger.json").as_posix()]
    given["exampleOfWork"], ledger["exampleOfWork"] = configured, verdicts
    facts = {
        "name": crate.name,
        "description": "The whole workflow, job by job under #job-1 and on.",
        "startTime": _stamp(min(map(_started, manifests))),
        "endTime": _stamp(max(map(_ended, manifests))),
        "actionStatus": COMPLETED,
    }
    wanted = ("ledger.parquet", "index.html")
    pages = [files[name] for file in wanted if (name := (results / file).as_posix()) in files]
    action = crate.add_action(workflow, "#run", object=given, result=[ledger, *pages], properties=facts)
    if agent is not None:
        action["agent"] = crate.root_dataset["author"] = agent
    crate.root_dataset.append_to("mentions", action)


def _job(crate: ROCrate, place: int, told: Mapping, files: Mapping, agent) -> None:
    stage = told["modules"][0].split(".")[1]
    # Who changed sources between two runs has two versions of a stage in one folder.
    identifier = f"#{stage}-{told['source_digest']}"
    tool = crate.get(identifier) or crate.add(
        ContextEntity(
            crate,
            identifier,
            {
                "@type": "SoftwareApplication",
                "name": f"reinduce {stage}",
                "softwareVersion": f"{VERSION}, sources {told['source_digest']}",
            },
        )
    )
    facts = {
        "name": " ".join([told["rule"] or "by hand", *told["wildcards"]]),
        "description": told["command"],
        "startTime": _stamp(_started(told)),
        "endTime": _stamp(_ended(told)),
        "actionStatus": COMPLETED,
    }
    read, wrote = (
        [_entity(crate, name, known, files) for name, known in told[side].items()] for side in ("inputs", "outputs")
    )
    facts |= {"agent": agent} if agent is not None else {}
    action = crate.add_action(tool, f"#job-{place}", object=_single(read), result=_single(wrote), properties=facts)
    crate.root_dataset.append_to("mentions", action)


def _single(entities: list):
    """A list of one is written as that one."""
    return entities[0] if len(entities) == 1 else entities


def _entity(crate: ROCrate, name: str, known: Mapping, files: Mapping):
    """A file of the crate; of one that stays behind its hash."""
    if name in files:
        return files[name]
    identifier = f"#{name}"
    facts = {"@type": "CreativeWork", "name": name, "sha256": known["sha256"], "contentSize": str(known["bytes"])}
    return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, facts))


def _started(told: Mapping) -> float:
    return calendar.timegm(time.strptime(told["started"], "%Y-%m-%dT%H:%M:%SZ"))


def _ended(told: Mapping) -> float:
    return _started(told) + told["seconds"]


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
