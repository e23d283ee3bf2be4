"""Images as files named by their SHA-256: written completely or not at all, and never twice."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = ".part"
_CLOCK = ".clock"
_ABANDONED_S = 24 * 3600.0  # a server that has written nothing to a file of its own for so long will not go on
OWNER_ONLY = 0o700


class BlobStore:
    """A directory of images, readable by its owner only.

    Parameters
    ----------
    directory
        Created if missing, also later; if several servers use it, by `create` only.
    owner
        Whose incomplete files are deleted at its start, if several servers use the directory.
    """

    def __init__(self, directory: Path, owner: str = "") -> None:
        self._directory = directory
        self._owner = owner
        if not owner:
            self.create()

    @property
    def exists(self) -> bool:
        """Whether the directory is there."""
        return self._directory.is_dir()

    def create(self) -> None:
        """Create the directory unless it is there.

        Raises
        ------
        OSError
            It cannot be created.
        """
        self._directory.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)

    def restore(self) -> bool:
        """Create the directory again if somebody deleted it; returns whether that was so.

        Raises
        ------
        OSError
            It cannot be created, or several servers use it: then it is not mounted, and the images are elsewhere.
        """
        self._check_mounted()
        is_missing = not self.exists
        self.create()
        return is_missing

    def put(self, data: bytes, digest: str = "") -> str:
        """Store an image; returns its digest, which may be known.

        Raises
        ------
        OSError
            It cannot be written; nothing is left behind.
        """
        digest = digest or hashlib.sha256(data).hexdigest()
        if self.touch(digest):
            return digest
        part = self.begin()
        try:
            self.append(part, data)
            self.finish(part, digest)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return digest

    def free_bytes(self) -> int:
        """Return what the file system has left for this process."""
        at = self._directory if self.exists else self._directory.parent  # it is created again when needed
        return shutil.disk_usage(at).free

    def begin(self) -> Path:
        """Begin an image whose bytes come in parts; returns its file."""
        self.restore()
        handle, name = tempfile.mkstemp(dir=self._directory, prefix=self._owner, suffix=_PART)
        os.close(handle)
        return Path(name)

    @staticmethod
    def append(part: Path, data: bytes) -> None:
        """Append bytes to an image that was begun. No file stays open between two parts."""
        with part.open("ab") as file:
            file.write(data)
            file.flush()

    def finish(self, part: Path, digest: str) -> None:
        """Put an image that was begun into its place."""
        path = self._path(digest)
        path.parent.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
        sync(part)
        part.replace(path)
        sync(path.parent)

    def adopt(self, path: Path, digest: str) -> None:
        """Store a file as an image, by moving it; from another file system by copying it.

        Raises
        ------
        OSError
            It cannot be moved; a later try may succeed.
        """
        if not self.touch(digest):
            os.utime(path)  # it may have waited to be measured
            self.restore()
            self._move(path, digest)
        path.unlink(missing_ok=True)

    def _move(self, path: Path, digest: str) -> None:
        try:
            self.finish(path, digest)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            part = self.begin()
            try:
                shutil.copyfile(path, part)
                self.finish(part, digest)
            finally:
                part.unlink(missing_ok=True)

    def touch(self, digest: str) -> bool:
        """Make an image young again: not an orphan before its job is stored. Returns whether there is one."""
        try:
            os.utime(self._path(digest))
        except FileNotFoundError:
            self._check_mounted()
            return False
        return True

    def read(self, digest: str, offset: int, size: int) -> bytes | None:
        """Read so many bytes of an image from an offset on, fewer at its end; None if there is no such image."""
        if not _DIGEST.fullmatch(digest):
            return None
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            self._check_mounted()
            return None

    def find(self, digest: str) -> tuple[Path, int] | None:
        """Return the file of an image and its size in bytes; None if there is none."""
        path = self._path(digest)
        try:
            return (path, path.stat().st_size) if _DIGEST.fullmatch(digest) else None
        except FileNotFoundError:
            self._check_mounted()
            return None

    def remove(self, digest: str) -> None:
        """Delete an image if it exists."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete files that an earlier run of the server left incomplete; it may write nothing meanwhile.

        So are files of other servers that will not come back for them.
        """
        for path in self._directory.glob(f"{self._owner}*{_PART}"):
            path.unlink(missing_ok=True)
        if self._owner:
            self._sweep_abandoned()

    def _sweep_abandoned(self) -> None:
        limit = self._now() - _ABANDONED_S
        for path in (*self._directory.glob(f"*{_PART}"), *self._directory.glob(f"*{_CLOCK}")):
            if self._is_older(path, limit):
                path.unlink(missing_ok=True)

    def older_than(self, age_s: float) -> list[str]:
        """List the digests of images last stored or referred to longer ago than this."""
        limit = self._now() - age_s
        images = (path for path in self._directory.glob("*/*") if _DIGEST.fullmatch(path.name))
        return [path.name for path in images if self._is_older(path, limit)]

    def is_older_than(self, digest: str, age_s: float) -> bool:
        """Return whether an image exists and was last stored or referred to longer ago than this."""
        return self._is_older(self._path(digest), self._now() - age_s)

    def _now(self) -> float:
        """Return the time by the clock that files are marked with: if the directory is shared, that of its machine."""
        if not self._owner:
            return time.time()
        clock = self._directory / f"{self._owner}{_CLOCK}"
        clock.touch(mode=0o600)
        return clock.stat().st_mtime

    def _check_mounted(self) -> None:
        if self._owner and not self.exists:
            raise OSError(errno.ENODEV, f"the shared directory {self._directory} is not there")

    @staticmethod
    def _is_older(path: Path, limit: float) -> bool:
        try:
            return path.stat().st_mtime < limit
        except FileNotFoundError:
            return False

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
