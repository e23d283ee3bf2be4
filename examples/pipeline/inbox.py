"""The directory that photos arrive in."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNFINISHED = (".part", ".tmp", ".crdownload")


@dataclass(frozen=True)
class Photo:
    """A file of the inbox as it was when it was read.

    Attributes
    ----------
    path
        Where it is.
    data
        Its bytes; empty if it is larger than the server accepts.
    digest
        SHA-256 of its bytes, in hexadecimal.
    version
        Changes when the file is written again.
    """

    path: Path
    data: bytes
    digest: str
    version: tuple[int, int]

    @property
    def is_unchanged(self) -> bool:
        """Whether the file still is what was read."""
        try:
            return _version(self.path.stat()) == self.version
        except FileNotFoundError:
            return False


def arrived(inbox: Path, settle_s: float) -> Iterator[tuple[Path, bool]]:
    """List the files of an inbox by name, each with whether nothing was written to it for a while.

    Hidden files and those with the suffix of an unfinished download are left out, and so are directories and links.
    """
    now = time.time()
    for entry in sorted(os.scandir(inbox), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name.endswith(_UNFINISHED):
            continue
        try:
            if entry.is_file(follow_symlinks=False):
                # The time of modification is what a copy preserves; this one changes with every write and move.
                yield Path(entry.path), abs(now - entry.stat().st_ctime) >= settle_s
        except FileNotFoundError:
            continue


def read(path: Path, max_bytes: int) -> Photo:
    """Read a photo; raises `OSError`. One above `max_bytes` is hashed, but not kept in memory."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size > max_bytes:
            return Photo(path, b"", hashlib.file_digest(file, "sha256").hexdigest(), _version(status))
        data = file.read()
    return Photo(path, data, hashlib.sha256(data).hexdigest(), _version(status))


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
