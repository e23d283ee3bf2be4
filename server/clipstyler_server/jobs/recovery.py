"""After a start: resumes what an earlier run of this server left unfinished."""

from __future__ import annotations

import asyncio
from functools import partial

from clipstyler_server.errors import Reason, ServiceError, internal
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.endings import end_stored, verdict
from clipstyler_server.jobs.events import Failed
from clipstyler_server.observability import logs
from clipstyler_server.observability.traces import Tracer, enter_span
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage

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
        database, now = self._storage.database, self._storage.now()
        for record in await self._storage.read(database.unfinished, self._storage.owner, now):
            # The call of a one-shot job broke when the server exited.
            if end := verdict(record, now, record.one_shot, self._requeue):
                await end_stored(self._storage, record, end)
                continue
            if record.state is State.RUNNING:
                crashes = record.crashes + 1
                await self._storage.write(partial(database.transition, record.id, State.QUEUED, crashes=crashes))
            self._waiting.append(record)

    async def resume(self) -> None:
        """Put the jobs that wait into the queue, oldest first; the engine must be ready.

        One that cannot be resumed now is tried again after the others: what is wrong may be its photo.
        """
        while self._waiting:
            self._waiting = [record for record in self._waiting if not await self._tried(record)]
            if self._waiting:
                await asyncio.sleep(_PAUSE_S)

    async def _tried(self, record: Record) -> bool:
        """Try to resume a job, in a trace of its own; returns whether it is done with."""
        span = self._tracer.begin("recovery")
        enter_span(span)
        try:
            return await self._is_resumed(record)
        finally:
            span.end()

    async def _is_resumed(self, record: Record) -> bool:
        """Resume a job, or end it if that is impossible. False if a transient problem prevents both."""
        try:
            try:
                await self._admission.resume(record)
            except ServiceError as error:
                if error.reason in _TRANSIENT and record.deadline_at > self._storage.now():
                    raise
                await end_stored(self._storage, record, Failed(error.details))
            except Exception:  # noqa: BLE001 - one unreadable job must not stop the others
                logs.get_logger().exception("job_not_resumed", job_id=record.id)
                await end_stored(self._storage, record, Failed(internal(record.id).details))
        except ServiceError:
            return False  # logged
        return True
