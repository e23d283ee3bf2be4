"""After a start: takes up what a former run of this server left unfinished."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from clipstyler_server import logs
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import Cancelled, CancelReason, End, Event, Failed
from clipstyler_server.jobs.failures import deadline_error, draining_error, restart_error
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.jobs.storage import Storage
from clipstyler_server.services import to_proto
from clipstyler_server.services.admission import Admission

_MOST_RUNS = 2


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

    async def settle(self) -> None:
        """Decide about every job that ran or belonged to a call; before any call is answered."""
        store = self._storage.store
        for record in await self._storage.run(store.unfinished, self._storage.owner):
            if record.one_shot:
                # Its call broke when the server did.
                await self._end(record, Cancelled(0, draining_error(), CancelReason.CALLER_LEFT))
            elif record.deadline_at <= time.time():
                await self._end(record, Failed(deadline_error()))
            elif record.state is State.RUNNING and self._requeue and record.attempts < _MOST_RUNS:
                await self._storage.run(store.transition, record.id, State.QUEUED)
            elif record.state is State.RUNNING:
                await self._end(record, Failed(restart_error()))

    async def take_up(self) -> None:
        """Put stored jobs that wait into the queue, the oldest first; the worker must be ready."""
        for record in await self._storage.run(self._storage.store.unfinished, self._storage.owner):
            if record.state is not State.QUEUED:
                continue
            try:
                await self._admission.restore(record)
            except ServiceError as error:
                await self._end(record, Failed(error))
            else:
                logs.get_logger().info("job_taken_up", job_id=record.id, attempts=record.attempts)

    async def _end(self, record: Record, payload: End) -> None:
        end = Event(record.sequence + 1, datetime.now(UTC), payload)
        state = State.CANCELLED if isinstance(payload, Cancelled) else State.FAILED
        changes = {"ended_at": time.time(), "sequence": end.sequence, "end": to_proto.stored_end(record.id, end)}
        await self._storage.run(lambda: self._storage.store.transition(record.id, state, **changes))
        logs.get_logger().info("job_settled", job_id=record.id, state=state)
