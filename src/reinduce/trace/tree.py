"""A chain as people read it: files of one kind together, what they were made from below."""

import calendar
import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from reinduce.trace.chain import Chain, Manifest


@dataclass
class Node:
    """Files of one kind: all seeds' and all steps' of one table, say."""

    name: str
    """Their common name, with * for the seed and the step."""
    files: list[str]
    kind: str
    """result, setting or source."""
    rules: list[str]
    """The rules that made them."""
    digest: str
    """The file's SHA-256; of several, that over theirs."""
    made: float | None
    """When the oldest was made, in seconds since 1970."""
    fresh: bool
    """Whether no link from here on is broken."""
    details: dict
    """What their manifests tell beside: commit, device, seeds."""
    inputs: list["Node"]

    def as_dict(self) -> dict:
        """The same for machines."""
        return vars(self) | {"inputs": [node.as_dict() for node in self.inputs]}


def grown(chain: Chain, files: Iterable[str], above: tuple[str, ...] = ()) -> list[Node]:
    """The nodes of some files, by their common name, each with those that they were made from."""
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(common_name(file), []).append(file)
    return [
        _node(chain, name, sorted(set(group)), above) for name, group in sorted(groups.items()) if name not in above
    ]


def common_name(file: str) -> str:
    """A file's name without its seed and step: 'results/…/seed*/score/step*.parquet'."""
    return re.sub(r"step\d{8}", "step*", re.sub(r"seed\d+", "seed*", file))


def _node(chain: Chain, name: str, files: list[str], above: tuple[str, ...]) -> Node:
    manifests = {found.path: found for file in files if (found := chain.manifest_of(file))}.values()
    hashes = [chain.hash_of(file) or "missing" for file in files]
    digest = hashes[0] if len(files) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    inputs = {file for manifest in manifests for file in manifest.told["inputs"]}
    times = [calendar.timegm(time.strptime(m.told["started"], "%Y-%m-%dT%H:%M:%SZ")) for m in manifests]
    setting = chain.is_setting(files[0])
    return Node(
        name=name,
        files=files,
        kind="result" if manifests else "setting" if setting else "source",
        rules=sorted({str(m.told.get("rule")) for m in manifests}),
        digest=digest,
        made=min(times, default=None),
        fresh=not chain.faults(files),
        details=_details(manifests),
        inputs=grown(chain, sorted(inputs), (*above, name)),
    )


def _details(manifests: Iterable[Manifest]) -> dict:
    """What all manifests say alike, or how many different things they say."""
    found: dict = {}
    for key in ("commit", "clean_tree", "lock_digest", "python", "processor"):
        said = {str(manifest.told.get(key)) for manifest in manifests}
        found[key] = said.pop() if len(said) == 1 else f"{len(said)} different"
    named = [manifest.told.get("details", {}).get("seeds", {}) for manifest in manifests]
    # Trainings name random streams; claims count seeds.
    seeds = {stream for streams in named for stream in streams.values() if isinstance(stream, str)}
    return found | ({"seeds": sorted(seeds)} if seeds else {}) if manifests else {}


def as_lines(
    node: Node, now: float | None = None, before: str = "", last: bool = True, told: set[str] | None = None
) -> list[str]:
    """The tree as lines, with ages if `now` is given; what was told in full before is only named again."""
    told = set() if told is None else told
    again = node.name in told and node.inputs
    told.add(node.name)
    lines = [f"{before}{'└─ ' if last else '├─ '}{described(node, now)}{' (as above)' if again else ''}"]
    below = before + ("   " if last else "│  ")
    for place, child in enumerate([] if again else node.inputs):
        lines += as_lines(child, now, below, place == len(node.inputs) - 1, told)
    return lines


def described(node: Node, now: float | None) -> str:
    """E.g. 'results/…/seed*/score/step*.parquet × 180 · rule score_… · 1f3a…, 2 h old · fresh'."""
    parts = [node.name + (f" × {len(node.files)}" if len(node.files) > 1 else "")]
    if node.rules:
        parts.append(f"rule{'s' * (len(node.rules) > 1)} {', '.join(node.rules)}")
    else:
        parts.append({"setting": "from the configuration", "source": "source"}[node.kind])
    parts.append(node.digest[:12] + (f", {age(now - node.made)} old" if node.made and now else ""))
    if node.details.get("seeds"):
        parts.append(f"streams {', '.join(node.details['seeds'][:3])}{' …' * (len(node.details['seeds']) > 3)}")
    return " · ".join([*parts, "fresh" if node.fresh else "NOT TO BE TRUSTED"])


def age(seconds: float) -> str:
    """A time in its largest unit."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def commands(chain: Chain, file: str) -> list[str]:
    """What remakes a file from nothing, in order; first the one command that does all of it."""
    found: dict[str, None] = {}

    def visit(name: str, seen: set[str]) -> None:
        manifest = chain.manifest_of(name)
        if manifest is None or name in seen:
            return
        seen.add(name)
        for other in manifest.told["inputs"]:
            visit(other, seen)
        found[manifest.told["command"]] = None

    visit(file, set())
    manifest = chain.manifest_of(file)
    commit = manifest.told.get("commit") if manifest else None
    config = f" --config {' '.join(chain.options)}" if chain.options else ""
    start = [f"git checkout {commit}"] if commit else []
    start += ["make env", "source .venv/bin/activate", f"snakemake --cores all{config} -- {file}"]
    return [*start, "# which runs, one after another:", *found]
