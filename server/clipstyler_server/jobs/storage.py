"""The store and the images behind one thread: the event loop never waits for a disk, and writes keep their order."""

from __future__ import annotations

import asyncio
import errno
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from clipstyler_server import logs
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.images import ImageFiles
from clipstyler_server.jobs.records import Record
from clipstyler_server.jobs.store import JobStore

UPLOAD_KEPT_S = 3600.0
_RETRY_S = 5.0
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_Value = TypeVar("_Value")


class DirectoryInUseError(Exception):
    """Another server uses the data directory."""


class Storage:
    """Everything that lasts.

    Parameters
    ----------
    directory
        The data directory; made when it is missing.
    url
        Of the database; empty: SQLite in the directory.

    Attributes
    ----------
    store, images
        To be used inside of `run` only.
    owner
        Name of this server in leases; stays the same over restarts.

    Raises
    ------
    DirectoryInUseError
        Another server uses the directory.
    """

    def __init__(self, directory: Path, url: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(directory / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DirectoryInUseError(str(directory)) from None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage")
        self.images = ImageFiles(directory / "images")
        self.store = JobStore(url or f"sqlite:///{directory / 'jobs.sqlite3'}")
        self.owner = _identity(directory / "server-id")

    async def run(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        """Do something on the storage's thread, after all that was asked for before.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE; nothing half-written is left.
        sqlalchemy.exc.IntegrityError
            As it is: it means that somebody else was first.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except IntegrityError:
            raise
        except (OSError, SQLAlchemyError) as error:
            logs.get_logger().error("storage_failed", problem=f"{type(error).__name__}: {error}"[:500])
            raise _storage_error(error) from error

    async def collect(self, max_age_s: float, max_bytes: int) -> int:
        """Delete finished jobs that are too old, the oldest beyond the bytes, and files nobody refers to."""
        return await self.run(self._collect, max_age_s, max_bytes)

    def delete(self, record: Record) -> bool:
        """Delete a job and the images that no other job has; on the storage's thread. Returns whether there was one."""
        deleted = self.store.delete(record.id)
        for digest in {record.content, record.result} - self.store.images() - {None}:
            self.images.remove(str(digest))
        return deleted

    def close(self) -> None:
        """Finish what was asked for, then let go of the directory."""
        self._thread.shutdown()
        self.store.close()
        self._lock.release()

    def _collect(self, max_age_s: float, max_bytes: int) -> int:
        now = time.time()
        excess = self.store.stored_bytes() - max_bytes
        deleted = 0
        for record in self.store.finished_before(now):
            if (record.ended_at or now) >= now - max_age_s and excess <= 0:
                break
            excess -= record.stored_bytes
            deleted += self.delete(record)
        self.images.collect(self.store.images(), UPLOAD_KEPT_S)
        return deleted


def _storage_error(error: Exception) -> ServiceError:
    if (isinstance(error, OSError) and error.errno in _NO_SPACE) or "disk is full" in str(error):
        return ServiceError(
            Reason.STORAGE_FULL, "the server's disk is full: tell its operator, or try again later", retry_delay_s=60.0
        )
    return ServiceError(
        Reason.STORAGE_UNAVAILABLE, "the server cannot store jobs just now: try again", retry_delay_s=_RETRY_S
    )


def _identity(path: Path) -> str:
    if not path.is_file():
        path.write_text(str(uuid.uuid4()))
    return path.read_text()
