"""Input files, read up to a bound: a name may be that of a device or a pipe without end."""

from __future__ import annotations

from pathlib import Path

MAX_FILE_BYTES = 256 * 2**20
"""No server accepts more of one photo."""


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
