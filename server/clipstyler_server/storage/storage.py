"""Database and blobs behind threads of their own: the event loop never waits for a disk.

One thread writes, so that writes keep their order; another one reads and does not wait behind a pending write.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.errors import error as service_error
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.spool import NO_SPACE
from clipstyler_server.storage.blobs import OWNER_ONLY, BlobStore, sync
from clipstyler_server.storage.database import Database
from clipstyler_server.storage.records import Record, State, Unused

_RETRY_S = 5.0
_FULL_RETRY_S = 60.0
YOUNG_S = 60.0
"""A younger file may belong to a job that is being stored, by another server too."""
# What SQLite reports of a file that is broken, or none of its own.
_DAMAGE = ("malformed", "not a database")
_Value = TypeVar("_Value")


class StorageUnusableError(Exception):
    """The storage cannot be used; the message says why and what to do."""


class Storage:
    """Everything that survives a restart.

    Parameters
    ----------
    directory
        The data directory; created if missing.
    url
        Of the database; empty for SQLite in the directory.
    metrics
        Counts failures.
    shared
        Directory of images that several servers use; empty if this one has its own.

    Attributes
    ----------
    database, blobs
        To be used inside of `write` and `read` only.
    now
        Returns seconds since 1970, by the clock that stored times are compared with.
    owner
        Name of this server in leases; stays the same across restarts.
    problems
        Why it cannot be used now, as of the latest `check`; empty if it can.
    claiming
        Held while a stored job that waits is resumed or cancelled, so that only one of both happens.

    Raises
    ------
    StorageUnusableError
        The directory cannot be used, another server uses it, or the URL names no database.
    """

    def __init__(self, directory: Path, url: str, metrics: Metrics, shared: str = "") -> None:
        self._metrics = metrics
        self.now: Callable[[], float] = time.time
        self._min_age_s = YOUNG_S if shared else 0.0
        self._images = (Path(shared) if shared else directory) / "images"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="storage-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="storage-reader")
        self.claiming = asyncio.Lock()
        self.problems: list[str] = []
        self._lock_path = directory / "lock"
        try:
            directory.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
            self._acquire()
            self.owner = _identity(directory / "server-id")
            self.blobs = BlobStore(self._images, self.owner if shared else "")
            self.database = Database(url or f"sqlite:///{_private_file(directory / 'jobs.sqlite3')}")
        except Timeout:
            raise StorageUnusableError(
                f"another server uses the data directory {directory}: choose a different one with --data-dir"
            ) from None
        except OSError as error:
            raise StorageUnusableError(f"the data directory {directory} cannot be used: {error.strerror}") from error
        except ModuleNotFoundError as error:
            self._lock.release()
            raise StorageUnusableError(f"database_url needs {error.name}, which is not installed") from error
        except (ArgumentError, NoSuchModuleError, ValueError) as error:
            self._lock.release()
            raise StorageUnusableError(
                "database_url is not the address of a database: use postgresql+psycopg://USER@HOST/NAME, or none"
            ) from error

    async def open(self) -> None:
        """Bring the tables up to date, and delete files that an earlier run left incomplete.

        Raises
        ------
        StorageUnusableError
            The database cannot be reached, or its version is unknown; it is left as it is. Or the images are not there.
        """
        try:
            await self.write(self.database.migrate)
            await self.write(self._open_blobs)
        except CommandError as error:
            raise StorageUnusableError(
                f"the database was written by another version of clipstyler and is left unchanged ({error}): "
                "start that version to finish or download its jobs, or start this one with a different --data-dir "
                "(and --database-url)"
            ) from error
        except ServiceError as error:
            raise StorageUnusableError(f"the database cannot be used: {problem_of(error.__cause__)}") from error

    def _open_blobs(self) -> None:
        """Create the directory of images, unless it must be there: then what was to be mounted is not."""
        if self.database.has_shared_jobs() and not self.blobs.exists:
            raise StorageUnusableError(
                f"the shared directory {self._images.parent} has no images, but the database has jobs of it: "
                f"mount it, or create {self._images} if they are lost"
            )
        try:
            self.blobs.create()
            self.blobs.sweep()
        except OSError as error:
            raise StorageUnusableError(f"the directory {self._images} cannot be used: {error.strerror}") from error

    async def check(self) -> None:
        """Look whether everything is still there and answers, restore what can be, and set `problems`."""
        try:
            self.problems = await asyncio.get_running_loop().run_in_executor(self._reader, self._check)
        except (OSError, SQLAlchemyError) as error:
            self.problems = [_storage_error(error).details.message]

    async def job_counts(self) -> dict[State, int]:
        """Count the jobs in each state; empty if the database does not answer, which `check` reports."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, self.database.count_by_state)
        except (OSError, SQLAlchemyError):
            return {}

    def _check(self) -> list[str]:
        if self.blobs.restore():
            logs.get_logger().error("images_lost", problem="the directory of images was deleted; it is empty now")
        self.database.ping()
        return self._check_lock()

    def _check_lock(self) -> list[str]:
        """Take the lock again if its file was deleted, unless another server was faster."""
        try:
            if self._lock_path.stat().st_ino == self._lock_inode:
                return []
        except FileNotFoundError:
            pass
        try:
            self._acquire()
        except Timeout:
            return ["another server has taken over the data directory"]
        logs.get_logger().error("lock_lost", problem="the lock of the data directory was deleted; it is taken again")
        return []

    def _acquire(self) -> None:
        self._lock = FileLock(self._lock_path, thread_local=False)
        self._lock.acquire(timeout=0)
        self._lock_inode = self._lock_path.stat().st_ino

    async def write(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        """Change something, after all changes requested before.

        Raises
        ------
        ServiceError
            STORAGE_FULL or STORAGE_UNAVAILABLE; nothing half-written is left.
        sqlalchemy.exc.IntegrityError
            Another server was first.
        """
        return await self._on(self._writer, work, *arguments)

    async def read(self, work: Callable[..., _Value], *arguments: object) -> _Value:
        """Read something.

        Raises
        ------
        ServiceError
            STORAGE_UNAVAILABLE.
        """
        return await self._on(self._reader, work, *arguments)

    def delete(self, record: Record) -> bool:
        """Delete a job and its unshared images, inside of `write`. Returns whether there was one."""
        deleted = self.database.delete(record.id)
        if deleted:
            for digest in filter(
                None, (record.content, record.mask, record.result, record.style, *record.other_photos.split())
            ):
                self.delete_file(digest)
        return deleted

    def delete_unused(self, entry: Unused) -> None:
        """Delete a finished job, an upload or a style with its unshared files, inside of `write`."""
        if entry.job_id:
            record = self.database.get(entry.job_id)
            if record:
                self.delete(record)
            return
        if entry.style:
            self.delete_style(entry.tenant, entry.style)
            return
        self.database.delete_upload(entry.tenant, entry.upload)
        self.delete_file(entry.upload)

    def delete_style(self, tenant: str, digest: str) -> None:
        """Delete a style and its unshared file, inside of `write`."""
        self.database.delete_style(tenant, digest)
        self.delete_file(digest)

    def delete_file(self, digest: str, min_age_s: float = 0) -> bool:
        """Delete a file that nothing refers to, inside of `write`. Returns whether it was deleted.

        A young one may belong to a result that another server is about to store: retention comes by later.
        """
        min_age_s = max(min_age_s, self._min_age_s)
        with self.database.holding(digest):
            is_young = min_age_s > 0 and not self.blobs.is_older_than(digest, min_age_s)
            if is_young or self.database.is_used(digest):
                return False
            self.blobs.remove(digest)
            return True

    def close(self) -> None:
        """Finish pending work, then release the directory."""
        self._writer.shutdown()
        self._reader.shutdown()
        self.database.close()
        self._lock.release()

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[..., _Value], *arguments: object) -> _Value:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
        except IntegrityError:
            raise
        except (OSError, SQLAlchemyError) as error:
            reported = _storage_error(error)
            self._metrics.storage_failed(reported.reason.removeprefix("STORAGE_").lower())
            logs.get_logger().error("storage_failed", problem=problem_of(error)[:500])
            raise reported from error


def problem_of(error: BaseException | None) -> str:
    """Return what a database or a disk reports, without the statement's parameters, which hold texts of users."""
    return str(getattr(error, "orig", error))


def _storage_error(error: Exception) -> ServiceError:
    if any(sign in str(error) for sign in _DAMAGE):
        return service_error(
            Reason.STORAGE_DAMAGED,
            "the server's database is damaged: notify its operator, who can restore it from a backup",
        )
    if (isinstance(error, OSError) and error.errno in NO_SPACE) or "disk is full" in str(error):
        return full_error()
    return unavailable_error()


def full_error() -> ServiceError:
    """Make the error of a full disk."""
    return service_error(
        Reason.STORAGE_FULL,
        "the server's disk is full: notify its operator, or try again later",
        retry_delay_s=_FULL_RETRY_S,
    )


def unavailable_error() -> ServiceError:
    """Make the error of a storage that does not work."""
    return service_error(
        Reason.STORAGE_UNAVAILABLE, "the server cannot store jobs just now: retry", retry_delay_s=_RETRY_S
    )


def _private_file(path: Path) -> Path:
    """Create a file that only its owner reads, or make it one; SQLite gives the files beside it the same mode."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path


def _identity(path: Path) -> str:
    """Return the name in a file. Jobs are resumed by it: what survives a power cut, it survives too."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    fresh = path.with_suffix(".new")
    fresh.write_text(str(uuid.uuid4()))
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)
    return path.read_text()
