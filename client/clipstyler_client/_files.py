"""Files that the client writes; it stands on the contract alone, so this is not the library's module."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file so that it appears complete or not at all, and return its path.

    A symbolic link is followed, and the permissions of an existing file are kept. A device or a pipe gets the bytes.

    Raises
    ------
    OSError
        It cannot be written; an existing file is unchanged.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return path
    target = Path(os.path.realpath(path))
    part = target.with_name(f".clipstyler-{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        with suppress(FileNotFoundError):
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink()
    return path
