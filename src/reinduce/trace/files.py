"""Files that are either complete or absent."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside a file, and rename it to that file if the block succeeds.

    Readers never see a partly written file, and a crash leaves the previous version.

    Args:
        path: The file to write; its folder is created.

    Yields:
        The temporary name to write to. It is removed if the block fails.

    Raises:
        OSError: The file system refused; the error names the file, also where the system gives no name (a full disk).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes on two machines that share a file system may have the same process id, so the name is random.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically, and leave it untouched if it already has this content.

    Args:
        path: The file to write.
        text: Its content.

    Returns:
        The path.

    Raises:
        OSError: The file system refused.
    """
    path = Path(path)
    if not path.is_file() or path.read_text() != text:
        with atomic_write(path) as partial:
            partial.write_text(text)
    return path


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path: The file to read.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
