"""Ends a job that only the storage knows, because no run of it is in this process."""

from __future__ import annotations

import time
from functools import partial

from clipstyler_server.jobs.events import Cancelled, Failed
from clipstyler_server.jobs.stored_forms import dump_end
from clipstyler_server.observability import logs
from clipstyler_server.storage.records import SEQUENCE_STRIDE, Record, State
from clipstyler_server.storage.storage import Storage


async def end_stored(storage: Storage, record: Record, end: Failed | Cancelled) -> None:
    """Store how a job ended, unless it is finished by now.

    Raises
    ------
    ServiceError
        STORAGE_FULL or STORAGE_UNAVAILABLE.
    """
    state = State.CANCELLED if isinstance(end, Cancelled) else State.FAILED
    changes: dict[str, object] = {
        "ended_at": time.time(),
        # After whatever an earlier run of the server counted to.
        "sequence": record.sequence + SEQUENCE_STRIDE,
        "end": dump_end(end),
    }
    if await storage.write(partial(storage.database.transition, record.id, state, **changes)):
        logs.get_logger().info("job_settled", job_id=record.id, state=state)
