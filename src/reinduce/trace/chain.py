"""Follow a result back to its settings and sources through manifests, and find every link that does not hold.

Each manifest names what a command read and wrote, with hashes. A file is trusted if a manifest of the stage that makes
such files names it as an output with its present hash, if no other manifest contradicts it, if a rule wrote that
manifest, if the stage's sources and the settings have not changed since, if it names every input that the stage cannot
do without, and if every input is trusted in the same way. Settings and outputs are known by their places
(`trace.places`).
"""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reinduce.trace import sources
from reinduce.trace.files import sha256
from reinduce.trace.places import SETTINGS, find_place

CLI_OVERRIDES = "cli_overrides.json"
"""In a folder of results: the values of the command line that override config.yaml, as of the last run."""

EXIT_REFUSED = 3
"""Exit status of a command that refuses its evidence."""


@dataclass(frozen=True)
class Fault:
    """A link that does not hold."""

    file: str
    """The file, as manifests name it."""
    reason: str
    """What is wrong with it."""
    fix_command: str
    """The command that makes it again."""

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}; fix it with: {self.fix_command}"


class Refused(Exception):
    """Evidence that cannot be trusted; the message has a line for each fault."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        count = f"{len(self.faults)} fault{'s' * (len(self.faults) > 1)}"
        super().__init__("\n".join([f"evidence is refused, {count}:", *(f"  {fault}" for fault in self.faults)]))


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read."""

    path: Path
    content: Mapping[str, Any] = field(hash=False)

    @cached_property
    def has_current_sources(self) -> bool:
        """True if the command's sources have not changed since it ran."""
        return self.content.get("source_digest") == sources.digest(*self.content["modules"])


class Chain:
    """The manifests below a project's folder, read on demand; each file is hashed once."""

    def __init__(
        self,
        results: Path,
        root: Path = Path(),
        settings: Mapping[str, str] | None = None,
        cli_overrides: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> None:
        """Start with nothing read.

        Args:
            results: The folder below which rules make every file except settings.
            root: The project's folder, to which all file names are relative.
            settings: File → its text as the configuration resolves now; None: settings are taken as they are on disk.
            cli_overrides: Values that the command line set over config.yaml, for fix commands; None: those that the
                results record.
            strict: Whether results of uncommitted sources are a fault.
        """
        self.strict = strict
        self.results, self.root, self.settings = results, root, settings
        recorded = root / results / CLI_OVERRIDES
        if cli_overrides is None:
            cli_overrides = json.loads(recorded.read_text()) if recorded.is_file() else {}
        self.options = format_config_options(cli_overrides)
        self._manifests: dict[Path, dict[str, list[Manifest]]] = {}
        self._input_places: dict[Path, list[str]] = {}
        self._hashes: dict[str, str | None] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._setting_versions: dict[str, dict[str, str]] = {}
        """Setting → hash with which it was read → one file that was made with that version."""

    def hash_file(self, file: str) -> str | None:
        """Compute a file's present SHA-256.

        Args:
            file: Name below the project's folder.

        Returns:
            64 hexadecimal digits; None if there is no such file.
        """
        if file not in self._hashes:
            path = self.root / file
            self._hashes[file] = sha256(path) if path.is_file() else None
        return self._hashes[file]

    def find_manifest(self, file: str) -> Manifest | None:
        """Find the manifest that names a file as an output.

        Args:
            file: Name below the project's folder.

        Returns:
            The manifest; None if there is none.

        Raises:
            Refused: A file with a manifest's name beside it is not a manifest.
        """
        return next(iter(self._list_manifests(file)), None)

    def find_faults(self, files: Iterable[str]) -> list[Fault]:
        """Find every link that does not hold on the way from some files to their sources.

        Args:
            files: Names below the project's folder.

        Returns:
            Each fault once, mixed settings first.

        Raises:
            Refused: A file with a manifest's name is not a manifest.
        """
        found = [fault for file in files for fault in self._faults_of(file)]
        return list(dict.fromkeys([*self._mixed_settings(), *found]))

    def verify(self, files: Iterable[str]) -> None:
        """Check that every link to some files holds.

        Args:
            files: Names below the project's folder.

        Raises:
            Refused: A link does not hold.
        """
        found = self.find_faults(files)
        if found:
            raise Refused(found)

    def fix_command(self, file: str) -> str:
        """Format the command that makes a file again even if Snakemake considers it up to date.

        Args:
            file: Name below the project's folder.

        Returns:
            A shell command.
        """
        config = f" --config {shlex.join(self.options)}" if self.options else ""
        return f"snakemake --cores all{config} --force -- {shlex.quote(file)}"

    def is_setting(self, file: str) -> bool:
        """Report whether a file is a setting, resolved from the configuration that users write.

        Args:
            file: Name below the project's folder.

        Returns:
            True for settings, False for results and sources.
        """
        return self._is_result(file) and SETTINGS.fullmatch(self._place(file)) is not None

    def _place(self, file: str) -> str:
        """A result's name below the folder of results."""
        return Path(file).relative_to(self.results).as_posix()

    def _is_result(self, file: str) -> bool:
        return Path(file).is_relative_to(self.results)

    def _mixed_settings(self) -> Iterator[Fault]:
        """Settings that some of the files were made with in their present version, and others in an earlier one."""
        for setting, versions in self._setting_versions.items():
            if len(versions) > 1:
                one, other = list(versions.values())[:2]
                outdated = next(file for digest, file in versions.items() if digest != self.hash_file(setting))
                reason = f"evidence is mixed from two configurations: {one} was made under one version of it, {other}"
                yield Fault(setting, f"{reason} under another", self.fix_command(outdated))

    def _faults_of(self, file: str) -> list[Fault]:
        if file not in self._faults:
            self._faults[file] = []  # ends the recursion where manifests form a cycle
            self._faults[file] = list(self._check_file(file))
        return self._faults[file]

    def _check_file(self, file: str) -> Iterator[Fault]:
        """Faults of a file and of everything that it was made from."""

        def fault(reason: str) -> Fault:
            return Fault(file, reason, self.fix_command(file))

        if self.settings is not None and file in self.settings:
            path = self.root / file
            if not path.is_file() or path.read_text() != self.settings[file]:
                yield fault("the configuration has changed since it was resolved")
            return
        if self.hash_file(file) is None:
            yield fault("it is missing")
            return
        if self.is_setting(file):
            if self.settings is not None:
                yield fault("the configuration no longer has it")
            return
        manifests = self._list_manifests(file)
        if not manifests:
            # A file outside the results is a source of the project or of the user, and needs no manifest.
            if self._is_result(file):
                others = any(self._read_manifests(folder) for folder in _manifest_folders(file))
                yield fault(
                    "no manifest names it: it was put there by hand, or the manifest is that of another run"
                    if others
                    else "it has no manifest: how it was made cannot be known"
                )
            return
        recorded = {manifest.content["outputs"][file]["sha256"]: manifest.path.name for manifest in manifests}
        if len(recorded) > 1:
            yield fault(f"manifests contradict each other about it: {', '.join(sorted(recorded.values()))}")
        # Where they agree, each of them must hold: one could hide what another says.
        for manifest in manifests if len(recorded) == 1 else manifests[:1]:
            if self._is_result(file):
                yield from self._check_stage(file, manifest, fault)
            yield from self._check_manifest(file, manifest, fault)

    def _check_stage(self, file: str, manifest: Manifest, fault: Callable[[str], Fault]) -> Iterator[Fault]:
        """Faults of a manifest that is not that of the stage which makes such a file, or that names too few inputs."""
        place = find_place(self._place(file))
        command = " ".join(str(manifest.content.get("command")).split()[:2])
        if place is None:
            yield fault("no stage makes a file in this place")
        elif (manifest.content["modules"][:1], command) != ([place.module], f"reinduce {place.command}"):
            yield fault(f"its manifest is that of `{command}`; such files are made by `reinduce {place.command}`")
        else:
            name, inputs = self._place(file), self._list_input_places(manifest)
            outside = [one for one in manifest.content["inputs"] if not self._is_result(one)]
            absent = place.find_absent_input(name, inputs)
            foreign = place.find_foreign_input(name, inputs, outside)
            if absent:
                yield fault(f"its manifest names no input {absent}, without which it cannot be made")
            if foreign:
                yield fault(f"its manifest names the input {foreign}, which is not one that such a file is made from")

    def _check_manifest(self, file: str, manifest: Manifest, fault: Callable[[str], Fault]) -> Iterator[Fault]:
        """Faults of a file with a manifest, and of everything that it was made from."""
        recorded, size = manifest.content["outputs"][file], (self.root / file).stat().st_size
        if size != recorded["bytes"]:
            how = "cut short or changed" if size < recorded["bytes"] else "changed"
            yield fault(f"it was {how} after it was made: {recorded['bytes']} bytes were written, it has {size}")
        elif self.hash_file(file) != recorded["sha256"]:
            yield fault("it was changed after it was made (its hash differs)")
        if not manifest.content.get("rule"):
            yield fault("no rule made it: its command was run by hand")
        if not manifest.has_current_sources:
            yield fault(f"it was made by sources of {manifest.content['modules'][0]} that have changed since")
        if self.strict and manifest.content.get("clean_tree") is not True:
            yield fault("it was made from uncommitted sources")
        for name, facts in manifest.content["inputs"].items():
            now = self.hash_file(name)
            if self.is_setting(name):
                self._setting_versions.setdefault(name, {}).setdefault(facts["sha256"], file)
            if now is not None and now != facts["sha256"]:
                source = "under other settings" if self.is_setting(name) else "from another file"
                yield fault(f"it was made {source}: {name} differs from the version that was read")
            yield from self._faults_of(name)

    def _list_input_places(self, manifest: Manifest) -> list[str]:
        """The results among a manifest's inputs; listed once, since a manifest may have hundreds of outputs."""
        if manifest.path not in self._input_places:
            inputs = manifest.content["inputs"]
            self._input_places[manifest.path] = [self._place(name) for name in inputs if self._is_result(name)]
        return self._input_places[manifest.path]

    def _list_manifests(self, file: str) -> list[Manifest]:
        """All manifests that name a file as an output."""
        return [one for folder in _manifest_folders(file) for one in self._read_manifests(folder).get(file, [])]

    def _read_manifests(self, folder: Path) -> dict[str, list[Manifest]]:
        """Output → the manifests that name it, for all manifests of a folder."""
        if folder not in self._manifests:
            found: dict[str, list[Manifest]] = {}
            for path in sorted((self.root / folder).glob("*manifest.json")):
                manifest = _read_manifest(path)
                for name in manifest.content["outputs"]:
                    found.setdefault(name, []).append(manifest)
            self._manifests[folder] = found
        return self._manifests[folder]


def refusal_file(results: Path) -> Path:
    """Name the file that states why the ledger beside it could not be made again.

    Args:
        results: Folder of results.

    Returns:
        The path, whether or not the file exists.
    """
    return results / "ledger.refused.txt"


def format_config_options(values: Mapping[str, Any]) -> list[str]:
    """Format values that override config.yaml as arguments of `snakemake --config`.

    Args:
        values: Key of config.yaml → value.

    Returns:
        An argument for each key.

    Example:
        >>> format_config_options({"scale": "smoke", "cluster": {"devices": 2}})
        ['scale=smoke', 'cluster={"devices": 2}']
    """
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def _manifest_folders(file: str) -> list[Path]:
    """Folders in which a manifest of a file may be: beside it or one folder up."""
    parent = Path(file).parent
    return [parent, parent.parent]


def _read_manifest(path: Path) -> Manifest:
    """Read a manifest; raises Refused if the file is not one."""
    try:
        content = json.loads(path.read_text())
        if not {"outputs", "inputs", "modules"} <= set(content):
            raise ValueError("it lacks outputs, inputs or modules")
    except (ValueError, TypeError) as error:
        raise Refused([Fault(str(path), f"not a manifest ({error})", "snakemake --cores all --forceall")]) from None
    return Manifest(path, content)
