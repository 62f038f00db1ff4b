"""Files that are either whole or not there."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; renamed to `path` if the block ends well, removed if not.

    Readers never meet half a file, and a crash leaves what was there before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two machines that share a file system may have processes of the same number.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        # That a disk is full is said without a name.
        error.filename = error.filename or str(path)
        raise
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole; leave it untouched if it already says just that."""
    path = Path(path)
    if not path.is_file() or path.read_text() != text:
        with written_aside(path) as aside:
            aside.write_text(text)
    return path


def sha256(path: str | Path) -> str:
    """A file's SHA-256 as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
