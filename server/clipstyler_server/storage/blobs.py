"""Images as files named by their SHA-256: written completely or not at all, and never twice."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = ".part"


class BlobStore:
    """A directory of images, readable by its owner only.

    Parameters
    ----------
    directory
        Created if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store an image; returns its digest.

        Raises
        ------
        OSError
            It cannot be written; nothing is left behind.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if path.is_file():
            os.utime(path)  # young again: not an orphan before its job is stored
            return digest
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._directory, suffix=_PART)
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
        """Delete an image if it exists."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete files that an earlier run of the server left incomplete; nothing may be written meanwhile."""
        for path in self._directory.glob(f"*{_PART}"):
            path.unlink(missing_ok=True)

    def older_than(self, age_s: float) -> list[str]:
        """List the digests of images last stored or referred to longer ago than this."""
        limit = time.time() - age_s
        return [path.name for path in self._directory.glob("*/*") if self._is_older(path, limit)]

    def is_older_than(self, digest: str, age_s: float) -> bool:
        """Return whether an image exists and was last stored or referred to longer ago than this."""
        return self._is_older(self._path(digest), time.time() - age_s)

    @staticmethod
    def _is_older(path: Path, limit: float) -> bool:
        try:
            return path.stat().st_mtime < limit
        except FileNotFoundError:
            return False

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
