"""Where an admitted job goes: into this server's own queue, or into the one that it shares with others."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from clipstyler.events import Warning
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import CancelReason
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.storage import Storage

_PAUSE_S = 1.0


class Intake(Protocol):
    """Takes jobs."""

    def reserve(self, caller: Caller) -> AbstractContextManager[None]:
        """Reserve a place in the queue for a caller while its request is being admitted.

        Raises
        ------
        ServiceError
            DRAINING, WORKER_NOT_READY or QUEUE_FULL.
        """
        ...

    def check_deadline(self, job: Job) -> None:
        """Raise `ServiceError` DEADLINE_UNREACHABLE if a job, queued now, would not finish in time."""
        ...

    def create(self, record: Record, caller: Caller) -> None:
        """Store a job, inside of `Storage.write`.

        Raises
        ------
        ServiceError
            QUEUE_FULL.
        sqlalchemy.exc.IntegrityError
            There is a job of this tenant and request id.
        """
        ...

    def accept(self, job: Job, warnings: tuple[Warning, ...] = ()) -> None:
        """Take a job that was stored."""
        ...

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job that was taken, wherever it is by now."""
        ...

    def reconcile(self, job: Job, warnings: tuple[Warning, ...], problem: ServiceError) -> None:
        """Look after a job whose storing failed, in the background: it may be stored all the same.

        Then a durable one runs, because its caller may ask again under its request id, and a one-shot one ends.
        """
        ...


class OwnQueue:
    """Takes jobs into the queue of this server's scheduler.

    Parameters
    ----------
    scheduler, storage
        Of this server.
    """

    def __init__(self, scheduler: Scheduler, storage: Storage) -> None:
        self.reserve = scheduler.reserve
        self.check_deadline = scheduler.outlook.check_deadline
        self.accept = scheduler.accept
        self.cancel = scheduler.cancel
        self._storage = storage
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, record: Record, caller: Caller) -> None:  # noqa: ARG002 - places were reserved
        """Store a job, inside of `Storage.write`."""
        self._storage.database.create(record)

    def reconcile(self, job: Job, warnings: tuple[Warning, ...], problem: ServiceError) -> None:
        """Take a job if it is stored; that is unknown only if the connection was lost, perhaps after the commit."""
        if getattr(problem.__cause__, "connection_invalidated", False):
            task = asyncio.create_task(self._reconcile(job, warnings))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Leave to the next start what `reconcile` has not found out."""
        for task in self._tasks:
            task.cancel()

    async def _reconcile(self, job: Job, warnings: tuple[Warning, ...]) -> None:
        """Find out whether a job is stored, however long the database is lost."""
        while True:
            try:
                async with self._storage.claiming:
                    if await self._storage.write(self._storage.database.renumber, job.id, job.sequence):
                        self.accept(job, warnings)
                        if job.one_shot:
                            self.cancel(job, CancelReason.CALLER_LEFT)
                return
            except ServiceError:
                await asyncio.sleep(_PAUSE_S)  # logged
