"""A chain as a tree for readers: files of one kind are one node, the files they were made from are below it."""

import calendar
import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reinduce.trace.chain import Chain, Manifest


@dataclass
class Node:
    """Files of one kind, for example one table of all seeds and steps."""

    name: str
    """Their common name, with * for the seed and the step."""
    files: list[str]
    kind: str
    """result, setting or source."""
    rules: list[str]
    """The rules that made them."""
    digest: str
    """SHA-256 of the file; of several files, SHA-256 over theirs."""
    made: float | None
    """When the oldest was made, in seconds since 1970; None without a manifest."""
    verified: bool
    """True if every link from here on holds."""
    details: dict[str, Any]
    """Further facts of their manifests: commit, device, seeds."""
    inputs: list["Node"]

    def as_dict(self) -> dict[str, Any]:
        """Convert the tree to JSON values.

        Returns:
            The fields by name; `inputs` as dictionaries.
        """
        return vars(self) | {"inputs": [node.as_dict() for node in self.inputs]}


def build_tree(chain: Chain, files: Iterable[str], above: tuple[str, ...] = ()) -> list[Node]:
    """Group files by their common name, each group with the files that it was made from below it.

    Args:
        chain: The project's manifests.
        files: Names below the project's folder.
        above: Common names of the nodes above, which are left out so that the tree is finite.

    Returns:
        A node for each common name, sorted.

    Raises:
        Refused: A file with a manifest's name is not a manifest.
    """
    groups: dict[str, list[str]] = {}
    for file in files:
        groups.setdefault(common_name(file), []).append(file)
    return [
        _build_node(chain, name, sorted(set(group)), above)
        for name, group in sorted(groups.items())
        if name not in above
    ]


def common_name(file: str) -> str:
    """Replace the seed and the step in a file's name by *.

    Args:
        file: Name below the project's folder.

    Returns:
        The name that the file shares with those of other seeds and steps.

    Example:
        >>> common_name("results/paper/two/seed12/score/step00000030.parquet")
        'results/paper/two/seed*/score/step*.parquet'
    """
    return re.sub(r"step\d{8}", "step*", re.sub(r"seed\d+", "seed*", file))


def _build_node(chain: Chain, name: str, files: list[str], above: tuple[str, ...]) -> Node:
    by_path = {found.path: found for file in files if (found := chain.find_manifest(file))}
    manifests = list(by_path.values())
    hashes = [chain.hash_file(file) or "missing" for file in files]
    digest = hashes[0] if len(files) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    inputs = {file for manifest in manifests for file in manifest.content["inputs"]}
    times = [calendar.timegm(time.strptime(m.content["started"], "%Y-%m-%dT%H:%M:%SZ")) for m in manifests]
    setting = chain.is_setting(files[0])
    return Node(
        name=name,
        files=files,
        kind="result" if manifests else "setting" if setting else "source",
        rules=sorted({str(m.content.get("rule")) for m in manifests}),
        digest=digest,
        made=min(times, default=None),
        verified=not chain.find_faults(files),
        details=_merge_details(manifests),
        inputs=build_tree(chain, sorted(inputs), (*above, name)),
    )


def _merge_details(manifests: list[Manifest]) -> dict[str, Any]:
    """Facts on which all manifests agree, or the number of different values; empty without manifests."""
    if not manifests:
        return {}
    found: dict[str, Any] = {}
    for key in ("commit", "clean_tree", "lock_digest", "python", "processor"):
        values = {str(manifest.content.get(key)) for manifest in manifests}
        found[key] = values.pop() if len(values) == 1 else f"{len(values)} different"
    named = [manifest.content.get("details", {}).get("seeds", {}) for manifest in manifests]
    # Manifests of training name random streams as text; those of claims list seeds, which are left out.
    streams = {stream for by_purpose in named for stream in by_purpose.values() if isinstance(stream, str)}
    return found | ({"seeds": sorted(streams)} if streams else {})


def format_tree(
    node: Node, now: float | None = None, before: str = "", last: bool = True, shown: set[str] | None = None
) -> list[str]:
    """Format a tree as lines of text.

    Args:
        node: The top of the tree.
        now: The present time in seconds since 1970, to show ages; None: no ages.
        before: Text at the start of each line: the branches that pass by.
        last: Whether the node is the last of its parent.
        shown: Common names already shown in full, which are not expanded again; added to.

    Returns:
        A line for each node.
    """
    shown = set() if shown is None else shown
    repeated = bool(node.name in shown and node.inputs)
    shown.add(node.name)
    lines = [f"{before}{'└─ ' if last else '├─ '}{format_node(node, now)}{' (as above)' if repeated else ''}"]
    below = before + ("   " if last else "│  ")
    for place, child in enumerate([] if repeated else node.inputs):
        lines += format_tree(child, now, below, place == len(node.inputs) - 1, shown)
    return lines


def format_node(node: Node, now: float | None) -> str:
    """Format a node in one line.

    Args:
        node: Files of one kind.
        now: The present time in seconds since 1970, to show the age; None: no age.

    Returns:
        For example 'results/…/seed*/score/step*.parquet × 180 · rule score_… · 1f3a…, 2 h old · verified'.
    """
    parts = [node.name + (f" × {len(node.files)}" if len(node.files) > 1 else "")]
    if node.rules:
        parts.append(f"rule{'s' * (len(node.rules) > 1)} {', '.join(node.rules)}")
    else:
        parts.append({"setting": "from the configuration", "source": "source"}[node.kind])
    parts.append(node.digest[:12] + (f", {format_age(now - node.made)} old" if node.made and now else ""))
    if node.details.get("seeds"):
        parts.append(f"streams {', '.join(node.details['seeds'][:3])}{' …' * (len(node.details['seeds']) > 3)}")
    return " · ".join([*parts, "verified" if node.verified else "NOT VERIFIED"])


def format_age(seconds: float) -> str:
    """Format a duration in its largest suitable unit.

    Args:
        seconds: A duration.

    Returns:
        The rounded number and its unit.

    Example:
        >>> format_age(3 * 3600)
        '3 h'
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def list_commands(chain: Chain, file: str) -> list[str]:
    """List the commands that make a file again from nothing.

    Args:
        chain: The project's manifests.
        file: Name below the project's folder.

    Returns:
        First the commands that do all of it, then a comment, then each command that ran, in order.

    Raises:
        Refused: A file with a manifest's name is not a manifest.
    """
    ran: dict[str, None] = {}

    def visit(name: str, seen: set[str]) -> None:
        manifest = chain.find_manifest(name)
        if manifest is None or name in seen:
            return
        seen.add(name)
        for other in manifest.content["inputs"]:
            visit(other, seen)
        ran[manifest.content["command"]] = None

    visit(file, set())
    manifest = chain.find_manifest(file)
    commit = manifest.content.get("commit") if manifest else None
    config = f" --config {' '.join(chain.options)}" if chain.options else ""
    start = [f"git checkout {commit}"] if commit else []
    start += ["make env", "source .venv/bin/activate", f"snakemake --cores all{config} -- {file}"]
    return [*start, "# which runs, one after another:", *ran]
