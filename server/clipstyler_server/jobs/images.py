"""Images as files named by their SHA-256: written as a whole or not at all, and never twice."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ImageFiles:
    """A directory of images.

    Parameters
    ----------
    directory
        Made when it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep an image; returns its digest.

        Raises
        ------
        OSError
            It cannot be written; nothing is left behind.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.is_file():
            os.utime(path)  # young again, so that it is no orphan before its job is stored
            return digest
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._directory, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(path.parent)
        return digest

    def get(self, digest: str) -> bytes | None:
        """Read an image; None if there is none."""
        try:
            return self._path(digest).read_bytes() if _DIGEST.fullmatch(digest) else None
        except FileNotFoundError:
            return None

    def remove(self, digest: str) -> None:
        """Delete an image if it is there."""
        self._path(digest).unlink(missing_ok=True)

    def collect(self, used: set[str], min_age_s: float) -> int:
        """Delete what no job refers to, half-written files too, unless it is young; returns how many."""
        limit = time.time() - min_age_s
        doomed = [
            path
            for path in self._directory.rglob("*")
            if path.is_file() and path.name not in used and path.stat().st_mtime < limit
        ]
        for path in doomed:
            path.unlink(missing_ok=True)
        return len(doomed)

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
