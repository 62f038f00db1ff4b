"""From a result back to settings and sources, by manifests; and every link that does not hold.

Each manifest names what a command read and wrote, with hashes. A file is trusted if a
manifest names it as an output with the hash it has now, if that manifest was written by a
rule, if the stage's sources and the settings are still those, and if all that it was made
from is trusted in the same way.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reinduce.config.layout import GIVEN
from reinduce.trace import sources
from reinduce.trace.files import sha256

STATUS = 3
"""Exit status of a command that refuses what it was given."""


@dataclass(frozen=True)
class Fault:
    """A link that does not hold."""

    file: str
    """Which file, as manifests name it."""
    reason: str
    """What is wrong with it."""
    mend: str
    """The command that makes it again."""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}; mend it with: {self.mend}"


class Refused(Exception):
    """Evidence that cannot be trusted; its text has a line for each fault."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = list(faults)
        count = f"{len(self.faults)} fault{'s' * (len(self.faults) > 1)}"
        super().__init__("\n".join([f"evidence is refused, {count}:", *(f"  {fault}" for fault in self.faults)]))


@dataclass(frozen=True)
class Manifest:
    """What a command wrote of itself."""

    path: Path
    told: Mapping = field(hash=False)

    @cached_property
    def current(self) -> bool:
        """Whether the command's sources are those of now."""
        return self.told.get("source_digest") == sources.digest(*self.told["modules"])


class Chain:
    """The manifests below a project's folder, read as they are needed, each file hashed once."""

    def __init__(
        self,
        results: Path,
        root: Path = Path(),
        settings: Mapping[str, str] | None = None,
        given: Mapping | None = None,
        strict: bool = False,
    ):
        """`results`: the folder below which rules make everything, but for settings.

        `settings`: file → its text as the configuration resolves now; None: as they lie there.
        `given`: what the command line laid over the configuration, for the commands that mend; None: as noted there.
        `strict`: whether what uncommitted sources made is a fault.
        """
        self.strict = strict
        self.results, self.root, self.settings = results, root, settings
        noted = root / results / GIVEN
        if given is None:
            given = json.loads(noted.read_text()) if noted.is_file() else {}
        self.options = config_options(given)
        self._manifests: dict[Path, dict[str, Manifest]] = {}
        self._hashes: dict[str, str | None] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._read_as: dict[str, dict[str, str]] = {}

    def hash_of(self, file: str) -> str | None:
        """A file's SHA-256 as it is now; None if it is not there."""
        if file not in self._hashes:
            path = self.root / file
            self._hashes[file] = sha256(path) if path.is_file() else None
        return self._hashes[file]

    def manifest_of(self, file: str) -> Manifest | None:
        """The manifest that names a file as an output."""
        return next((found for folder in self._folders(file) if (found := self._named_in(folder).get(file))), None)

    def faults(self, files: Iterable[str]) -> list[Fault]:
        """Every link that does not hold on the way from some files to what they were made from, each once."""
        found = [fault for file in files for fault in self._faults_of(file)]
        return list(dict.fromkeys([*self._mixed(), *found]))

    def _mixed(self) -> Iterator[Fault]:
        """Settings under which some of the files were made as they are, and others as they were."""
        for setting, made in self._read_as.items():
            if len(made) > 1:
                one, other = list(made.values())[:2]
                outdated = next(file for digest, file in made.items() if digest != self.hash_of(setting))
                reason = f"evidence is mixed from two configurations: {one} was made under one version of it, {other}"
                yield Fault(setting, f"{reason} under another", self.mend(outdated))

    def refuse(self, files: Iterable[str]) -> None:
        """Raise Refused if any link to these files does not hold."""
        found = self.faults(files)
        if found:
            raise Refused(found)

    def mend(self, file: str) -> str:
        """The command that makes a file again, whatever Snakemake thinks of it."""
        config = f" --config {shlex.join(self.options)}" if self.options else ""
        return f"snakemake --cores all{config} --force -- {shlex.quote(file)}"

    def is_setting(self, file: str) -> bool:
        """Whether a file is written by the front door, from the configuration that people write."""
        if self.settings is not None:
            return file in self.settings
        return self._is_made(file) and file.endswith(".json") and self.manifest_of(file) is None

    def _is_made(self, file: str) -> bool:
        return Path(file).is_relative_to(self.results)

    def _faults_of(self, file: str) -> list[Fault]:
        if file not in self._faults:
            self._faults[file] = []  # ends the walk where manifests go in a circle
            self._faults[file] = list(self._found(file))
        return self._faults[file]

    def _found(self, file: str) -> Iterator[Fault]:
        def fault(reason: str) -> Fault:
            return Fault(file, reason, self.mend(file))

        if self.settings is not None and file in self.settings:
            path = self.root / file
            if not path.is_file() or path.read_text() != self.settings[file]:
                yield fault("the configuration has changed since it was resolved")
            return
        if self.hash_of(file) is None:
            yield fault("it is missing")
            return
        manifest = self.manifest_of(file)
        if manifest is None:
            # What lies elsewhere is the project's own source, or the user's.
            if self._is_made(file) and not self.is_setting(file):
                others = any(self._named_in(folder) for folder in self._folders(file))
                yield fault(
                    "no manifest names it: it was put there by hand, or the manifest is that of another run"
                    if others
                    else "it has no manifest: whatever made it cannot be known"
                )
            return
        yield from self._against(file, manifest, fault)

    def _against(self, file: str, manifest: Manifest, fault) -> Iterator[Fault]:
        told, size = manifest.told["outputs"][file], (self.root / file).stat().st_size
        if size != told["bytes"]:
            how = "cut short or changed" if size < told["bytes"] else "changed"
            yield fault(f"it was {how} after it was made: {told['bytes']} bytes were written, {size} are there")
        elif self.hash_of(file) != told["sha256"]:
            yield fault("it was changed after it was made (its hash is another)")
        if not manifest.told.get("rule"):
            yield fault("no rule made it: its command was run by hand")
        if not manifest.current:
            yield fault(f"it was made by other sources of {manifest.told['modules'][0]} than those of now")
        if self.strict and manifest.told.get("clean_tree") is not True:
            yield fault("it was made from uncommitted sources")
        for name, facts in manifest.told["inputs"].items():
            now = self.hash_of(name)
            if self.is_setting(name):
                self._read_as.setdefault(name, {}).setdefault(facts["sha256"], file)
            if now is not None and now != facts["sha256"]:
                what = "under other settings" if self.is_setting(name) else "from another file"
                yield fault(f"it was made {what}: {name} is not what it read")
            yield from self._faults_of(name)

    def _folders(self, file: str) -> list[Path]:
        """Where a manifest that names a file may lie: beside it or one folder up."""
        parent = Path(file).parent
        return [parent, parent.parent]

    def _named_in(self, folder: Path) -> dict[str, Manifest]:
        if folder not in self._manifests:
            found = {}
            for path in sorted((self.root / folder).glob("*manifest.json")):
                manifest = _read(path)
                found |= {name: manifest for name in manifest.told["outputs"]}
            self._manifests[folder] = found
        return self._manifests[folder]


def refusal_mark(results: Path) -> Path:
    """A file that lies beside a ledger which could not be made again, and says why."""
    return results / "ledger.refused.txt"


def _read(path: Path) -> Manifest:
    """Raises Refused if it is not a manifest."""
    try:
        told = json.loads(path.read_text())
        if not {"outputs", "inputs", "modules"} <= set(told):
            raise ValueError("it lacks outputs, inputs or modules")
    except (ValueError, TypeError) as error:
        raise Refused([Fault(str(path), f"not a manifest ({error})", "snakemake --cores all --forceall")]) from None
    return Manifest(path, told)


def config_options(values: Mapping) -> list[str]:
    """What `snakemake --config` takes for values laid over config.yaml."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
