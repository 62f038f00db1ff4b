"""Where real text comes from: installed packages, a folder, or a Parquet column.

A source is one file (or row). All are read once, before anything is computed, so that a
text that cannot be used is reported at once; identical texts count once, so that none
is both trained and tested on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from reinduce.config.job_specs import require, stream_seed
from reinduce.trace.files import atomic_write

if TYPE_CHECKING:
    from reinduce.tasks.source_text import SourceTextSpec


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file or row of text."""

    name: str
    """Path below the packages' folder or the given folder; 'file.parquet#row' for a row."""
    read: Callable[[], bytes]
    """Reads the text again, so that a large corpus is never all in memory."""
    size: int
    """Bytes."""
    sha256: str
    package: str | None = None
    version: str | None = None

    @property
    def text(self) -> str:
        return self.read().decode("utf-8")


def find_sources(spec: SourceTextSpec) -> list[Source]:
    """All texts that a specification names, sorted by name, without empty and repeated ones.

    Raises FileNotFoundError or ValueError naming a package, folder, file or column that is
    missing, holds no text, or is not UTF-8.
    """
    find = {"packages": _packages, "folder": _folder, "parquet": _parquet}[spec.source]
    unique: dict[str, Source] = {}
    for source in sorted(find(spec), key=lambda source: source.name):
        if source.size:
            unique.setdefault(source.sha256, source)
    where = ", ".join(spec.packages) if spec.source == "packages" else spec.path
    require(bool(unique), f"{where}: every text is empty; name a source that holds text")
    return list(unique.values())


def split(sources: list[Source], heldout_share: float) -> dict[str, list[Source]]:
    """The sources shuffled (always the same way) and divided into 'train' and 'heldout'.

    Raises ValueError if there are too few to have one of each.
    """
    require(
        len(sources) > 1,
        f"{sources[0].name} is the only text: held-out text must come from other files or rows; "
        "cut it into several, or add more",
    )
    shuffled = list(sources)
    random.Random(stream_seed("data", "source_text", "split")).shuffle(shuffled)
    heldout = min(max(1, round(heldout_share * len(shuffled))), len(shuffled) - 1)
    return {"train": shuffled[heldout:], "heldout": shuffled[:heldout]}


def write_sources(parts: dict[str, list[Source]], path: Path) -> Path:
    """Write which text went where: name, package, version, bytes, sha256, split; sorted by name."""
    schema = pa.schema(
        [(name, pa.string()) for name in ("name", "package", "version")]
        + [("bytes", pa.int64()), ("sha256", pa.string()), ("split", pa.string())]
    )
    rows = [
        (source.name, source.package, source.version, source.size, source.sha256, part)
        for part, sources in parts.items()
        for source in sources
    ]
    columns = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    with atomic_write(path) as aside:
        pq.write_table(pa.table(arrays, schema=schema), aside, compression="zstd")
    return path


def digest(sources: list[Source]) -> str:
    """Sixteen hexadecimal digits that change when any text or its name does."""
    lines = sorted(f"{source.sha256} {source.name}\n" for source in sources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _source(where: str, name: str, read: Callable[[], bytes], **package: str) -> Source:
    """Read a text, check and hash it; `where` tells a person which text an error is about."""
    content = read()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 from byte {error.start} on (0x{content[error.start]:02x}); convert it, or leave it out"
        ) from None
    return Source(name=name, read=read, size=len(content), sha256=hashlib.sha256(content).hexdigest(), **package)


def _packages(spec: SourceTextSpec) -> Iterator[Source]:
    """The Python files of installed distributions."""
    for package in spec.packages:
        try:
            found = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            raise ValueError(
                f"packages: {package!r} is not installed here; install it or take it off the list"
            ) from None
        # Scripts lie outside the packages' folder; installers write this machine's paths into them.
        files = [file for file in found.files or [] if file.suffix == ".py" and ".." not in file.parts]
        require(bool(files), f"packages: {package!r} is installed without Python files; take it off the list")
        for file in files:
            path = Path(str(found.locate_file(file)))
            if not path.is_file():
                raise FileNotFoundError(f"{path}: listed by package {package!r} but missing; install it again")
            yield _source(str(path), file.as_posix(), path.read_bytes, package=package, version=found.version)


def _folder(spec: SourceTextSpec) -> Iterator[Source]:
    """The files of a folder that match the glob."""
    folder = Path(spec.path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; set path to a folder of text files")
    files = [path for path in folder.glob(spec.glob) if path.is_file()]
    require(
        bool(files), f"{folder}: no file matches {spec.glob!r}; set glob to match the text files, such as '**/*.md'"
    )
    for path in files:
        yield _source(str(path), path.relative_to(folder).as_posix(), path.read_bytes)


def _parquet(spec: SourceTextSpec) -> Iterator[Source]:
    """The rows of a Parquet file's column; a null is an empty text."""
    path = Path(spec.path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; set path to a Parquet file")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from None
    with file:
        known = file.schema_arrow
        require(spec.column in known.names, f"{path}: no column {spec.column!r}; there are: {', '.join(known.names)}")
        kind = known.field(spec.column).type
        require(
            pa.types.is_string(kind) or pa.types.is_large_string(kind),
            f"{path}: column {spec.column!r} holds {kind}, not strings",
        )
        # As bytes: Parquet does not promise that its strings are UTF-8.
        rows = file.read(columns=[spec.column])[spec.column].cast(pa.large_binary())

    def read_row(row: int) -> bytes:
        return rows[row].as_py() or b""

    digits = len(str(len(rows)))
    for row in range(len(rows)):
        where = f"{path}, column {spec.column!r}, row {row}"
        yield _source(where, f"{path.name}#{row:0{digits}d}", functools.partial(read_row, row))
