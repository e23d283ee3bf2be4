"""Ends a job that only the store has, because no run of it is in this process."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from clipstyler_server import logs
from clipstyler_server.jobs.events import Cancelled, End, Event
from clipstyler_server.jobs.model import SEQUENCE_STRIDE
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.jobs.storage import Storage
from clipstyler_server.services import to_proto


async def end_stored(storage: Storage, record: Record, payload: End) -> None:
    """Store how a job ended, unless it is over by now.

    Raises
    ------
    ServiceError
        STORAGE_FULL or STORAGE_UNAVAILABLE.
    """
    # Behind whatever a former run of the server counted to.
    end = Event(record.sequence + SEQUENCE_STRIDE, datetime.now(UTC), payload)
    state = State.CANCELLED if isinstance(payload, Cancelled) else State.FAILED
    changes = {"ended_at": time.time(), "sequence": end.sequence, "end": to_proto.stored_end(record.id, end)}
    if await storage.run(lambda: storage.store.transition(record.id, state, **changes)):
        logs.get_logger().info("job_settled", job_id=record.id, state=state)
