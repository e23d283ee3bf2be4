"""Input files, read up to a bound: a name may be that of a device or a pipe without end."""

from __future__ import annotations

from contextlib import suppress
from os import PathLike
from pathlib import Path

MAX_FILE_BYTES = 256 * 2**20
"""No server accepts more of one photo."""


def is_file(name: str | PathLike[str]) -> bool:
    """Return whether a text is the name of a file here; no text, however long, is an error."""
    with suppress(OSError, ValueError):
        return Path(name).is_file()
    return False


def is_directory(name: str | PathLike[str]) -> bool:
    """Return whether a text is the name of a directory here; no text, however long, is an error."""
    with suppress(OSError, ValueError):
        return Path(name).is_dir()
    return False


def read_whole(path: Path) -> bytes:
    """Read a file, a pipe too.

    Raises
    ------
    OSError
        It cannot be read, or has more than `MAX_FILE_BYTES`.
    """
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(0, f"has more than {MAX_FILE_BYTES // 2**20} MiB", str(path))
    return data
