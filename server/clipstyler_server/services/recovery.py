"""After a start: takes up what a former run of this server left unfinished."""

from __future__ import annotations

import asyncio
import time

from clipstyler_server import logs
from clipstyler_server.errors import Reason, ServiceError, internal
from clipstyler_server.jobs.events import Cancelled, CancelReason, End, Failed
from clipstyler_server.jobs.failures import deadline_error, draining_error, restart_error
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.jobs.storage import Storage
from clipstyler_server.services.admission import Admission
from clipstyler_server.services.endings import end_stored

_MOST_RUNS = 2
_PAUSE_S = 1.0
_PASSING = {Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE}


class Recovery:
    """Settles what was unfinished, then puts what waits into the queue.

    Parameters
    ----------
    storage
        What lasts.
    admission
        Takes a stored job up.
    requeue
        Whether a job that ran is run once more, or fails.
    """

    def __init__(self, storage: Storage, admission: Admission, requeue: bool) -> None:
        self._storage = storage
        self._admission = admission
        self._requeue = requeue
        self._waiting: list[Record] = []

    async def settle(self) -> None:
        """Decide about every job that was not over, before any call is answered.

        Raises
        ------
        ServiceError
            The storage does not work.
        """
        store = self._storage.store
        for record in await self._storage.look(store.unfinished, self._storage.owner, time.time()):
            if end := self._verdict(record):
                await end_stored(self._storage, record, end)
                continue
            if record.state is State.RUNNING:
                await self._storage.run(store.transition, record.id, State.QUEUED)
            self._waiting.append(record)

    async def take_up(self) -> None:
        """Put the jobs that wait into the queue, the oldest first; the worker must be ready."""
        for record in self._waiting:
            while not await self._is_taken_up(record):
                await asyncio.sleep(_PAUSE_S)

    def _verdict(self, record: Record) -> End | None:
        """Say how a job is over by now; None: it is to be run."""
        if record.one_shot:
            # Its call broke when the server did.
            return Cancelled(0, draining_error(), CancelReason.CALLER_LEFT)
        if record.deadline_at <= time.time():
            return Failed(deadline_error())
        if record.state is State.RUNNING and not (self._requeue and record.attempts < _MOST_RUNS):
            return Failed(restart_error())
        return None

    async def _is_taken_up(self, record: Record) -> bool:
        """Take a job up, or end it if that cannot be done. False: the storage does not work just now."""
        try:
            try:
                await self._admission.restore(record)
            except ServiceError as error:
                if error.reason in _PASSING:
                    raise
                await end_stored(self._storage, record, Failed(error))
            except Exception:  # noqa: BLE001 - one job that cannot be read must not stop the others
                logs.get_logger().exception("job_not_restored", job_id=record.id)
                await end_stored(self._storage, record, Failed(internal(record.id)))
        except ServiceError:
            return False  # logged
        return True
