"""After a start: resumes what an earlier run of this server left unfinished."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from clipstyler_server.errors import Reason, ServiceError, internal
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.endings import end_stored
from clipstyler_server.jobs.events import Cancelled, CancelReason, Failed
from clipstyler_server.jobs.job_errors import deadline_error, restart_error
from clipstyler_server.observability import logs
from clipstyler_server.observability.traces import Tracer, enter_span
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage

_MAX_CRASHES = 1  # of servers; a job that was running at one more may be what kills them
_PAUSE_S = 1.0
_TRANSIENT = {Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE, Reason.WORKER_NOT_READY}


class Recovery:
    """Settles unfinished jobs, then puts those that wait into the queue.

    Parameters
    ----------
    storage
        Of jobs.
    admission
        Resumes a stored job.
    requeue
        Whether a job that was running is run again, or fails.
    tracer
        Begins a trace of each job that is resumed.
    """

    def __init__(self, storage: Storage, admission: Admission, requeue: bool, tracer: Tracer) -> None:
        self._storage = storage
        self._admission = admission
        self._requeue = requeue
        self._tracer = tracer
        self._waiting: list[Record] = []

    async def settle(self) -> None:
        """Decide about every unfinished job, before any call is answered.

        Raises
        ------
        ServiceError
            The storage does not work.
        """
        database = self._storage.database
        for record in await self._storage.read(database.unfinished, self._storage.owner, time.time()):
            if end := self._verdict(record):
                await end_stored(self._storage, record, end)
                continue
            if record.state is State.RUNNING:
                crashes = record.crashes + 1
                await self._storage.write(partial(database.transition, record.id, State.QUEUED, crashes=crashes))
            self._waiting.append(record)

    async def resume(self) -> None:
        """Put the jobs that wait into the queue, oldest first; the engine must be ready."""
        for record in self._waiting:
            span = self._tracer.begin("recovery")
            enter_span(span)
            while not await self._is_resumed(record):
                await asyncio.sleep(_PAUSE_S)
            span.end()

    def _verdict(self, record: Record) -> Failed | Cancelled | None:
        """Return how a job has ended by now; None if it is to be run."""
        if record.one_shot:
            # Its call broke when the server exited.
            return Cancelled(0, CancelReason.CALLER_LEFT)
        if record.deadline_at <= time.time():
            return Failed(deadline_error().details)
        if record.state is State.RUNNING and not (self._requeue and record.crashes < _MAX_CRASHES):
            return Failed(restart_error().details)
        return None

    async def _is_resumed(self, record: Record) -> bool:
        """Resume a job, or end it if that is impossible. False if a transient problem prevents both."""
        try:
            try:
                await self._admission.resume(record)
            except ServiceError as error:
                if error.reason in _TRANSIENT:
                    raise
                await end_stored(self._storage, record, Failed(error.details))
            except Exception:  # noqa: BLE001 - one unreadable job must not stop the others
                logs.get_logger().exception("job_not_resumed", job_id=record.id)
                await end_stored(self._storage, record, Failed(internal(record.id).details))
        except ServiceError:
            return False  # logged
        return True
