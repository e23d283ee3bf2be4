"""The store and the images behind threads of their own: the event loop never waits for a disk.

One thread writes, so that writes keep their order; another reads, and does not wait behind a write that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from clipstyler_server import logs
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.images import ImageFiles
from clipstyler_server.jobs.records import Record
from clipstyler_server.jobs.store import JobStore
from clipstyler_server.telemetry import Metrics

_RETRY_S = 5.0
_FULL_RETRY_S = 60.0
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_Value = TypeVar("_Value")


class StorageUnfitError(Exception):
    """The storage cannot be used; the message says why and what to do."""


class Storage:
    """Everything that lasts.

    Parameters
    ----------
    directory
        The data directory; made when it is missing.
    url
        Of the database; empty: SQLite in the directory.
    metrics
        Where failures are counted.

    Attributes
    ----------
    store, images
        To be used inside of `run` and `look` only.
    owner
        Name of this server in leases; stays the same over restarts.
    claiming
        Held while a stored job that waits is taken up, or cancelled, so that only one of both happens.

    Raises
    ------
    StorageUnfitError
        The directory cannot be used, or another server uses it; the URL names no database.
    """

    def __init__(self, directory: Path, url: str, metrics: Metrics) -> None:
        self._metrics = metrics
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="storage-writer")
        self.claiming = asyncio.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="storage-reader")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(directory / "lock", thread_local=False)
            self._lock.acquire(timeout=0)
            self.images = ImageFiles(directory / "images")
            self.owner = _identity(directory / "server-id")
            self.store = JobStore(url or f"sqlite:///{directory / 'jobs.sqlite3'}")
        except Timeout:
            raise StorageUnfitError(
                f"another server uses the data directory {directory}: choose another one with --data-dir"
            ) from None
        except OSError as error:
            raise StorageUnfitError(f"the data directory {directory} cannot be used: {error.strerror}") from error
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            self._lock.release()
            raise StorageUnfitError(f"database_url cannot be used: {error}") from error

    async def open(self) -> None:
        """Bring the tables up to date, and remove what a former run did not write to its end.

        Raises
        ------
        StorageUnfitError
            The database cannot be reached or belongs to a later version.
        """
        try:
            await self.run(self.store.migrate)
            await self.run(self.images.sweep)
        except CommandError as error:
            raise StorageUnfitError(f"the database is of another version of clipstyler: {error}") from error
        except ServiceError as error:
            raise StorageUnfitError(f"the database cannot be used: {error.__cause__}") from error

    async def run(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        """Change something, after all that was asked for before.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE; nothing half-written is left.
        sqlalchemy.exc.IntegrityError
            As it is: it means that somebody else was first.
        """
        return await self._on(self._writer, work, *arguments)

    async def look(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        """Read something.

        Raises
        ------
        ServiceError
            STORAGE_UNAVAILABLE.
        """
        return await self._on(self._reader, work, *arguments)

    def delete(self, record: Record) -> bool:
        """Delete a job and the images that nobody else refers to, inside of `run`. Returns whether there was one."""
        deleted = self.store.delete(record.id)
        if deleted:
            for digest in filter(None, (record.content, record.result)):
                if not self.store.is_used(digest):
                    self.images.remove(digest)
        return deleted

    def keep_upload(self, photo: bytes, expires_at: float) -> str:
        """Keep an uploaded photo until then at least, inside of `run`; returns its digest."""
        digest = self.images.put(photo)
        self.store.keep_upload(digest, expires_at)
        return digest

    def close(self) -> None:
        """Finish what was asked for, then let go of the directory."""
        self._writer.shutdown()
        self._reader.shutdown()
        self.store.close()
        self._lock.release()

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[..., _Value], *arguments: object) -> _Value:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
        except IntegrityError:
            raise
        except (OSError, SQLAlchemyError) as error:
            told = _storage_error(error)
            self._metrics.storage_failed(told.reason.removeprefix("STORAGE_").lower())
            # Without the statement's parameters, which hold texts of users.
            logs.get_logger().error("storage_failed", problem=str(getattr(error, "orig", error))[:500])
            raise told from error


def _storage_error(error: Exception) -> ServiceError:
    if (isinstance(error, OSError) and error.errno in _NO_SPACE) or "disk is full" in str(error):
        return ServiceError(
            Reason.STORAGE_FULL,
            "the server's disk is full: tell its operator, or try again later",
            retry_delay_s=_FULL_RETRY_S,
        )
    return ServiceError(
        Reason.STORAGE_UNAVAILABLE, "the server cannot store jobs just now: try again", retry_delay_s=_RETRY_S
    )


def _identity(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    fresh = path.with_suffix(".new")
    fresh.write_text(str(uuid.uuid4()))
    fresh.replace(path)
    return path.read_text()
