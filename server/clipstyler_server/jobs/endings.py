"""Ends a job that only the storage knows, because no run of it is in this process."""

from __future__ import annotations

from functools import partial

from clipstyler_server.jobs.events import Cancelled, CancelReason, Failed, state_after
from clipstyler_server.jobs.job_errors import deadline_error, restart_error
from clipstyler_server.jobs.stored_forms import dump_end
from clipstyler_server.observability import logs
from clipstyler_server.storage.records import SEQUENCE_STRIDE, Record, State
from clipstyler_server.storage.shared_queue import Ending
from clipstyler_server.storage.storage import Storage

_MAX_CRASHES = 1  # of servers; a job that was running at one more may be what kills them


def verdict(record: Record, now: float, is_callerless: bool, requeue: bool) -> Failed | Cancelled | None:
    """Return how a job has ended whose server is gone; None if it is to be run.

    Parameters
    ----------
    record, now
        What is stored of it, and the time.
    is_callerless
        Whether it belongs to a call that is gone too.
    requeue
        Whether a job that was running is run again, or fails.
    """
    if is_callerless:
        return Cancelled(0, CancelReason.CALLER_LEFT)
    if record.cancel:
        return Cancelled(0, CancelReason(record.cancel))
    if record.deadline_at <= now:
        return Failed(deadline_error().details)
    if record.state is State.RUNNING and not (requeue and record.crashes < _MAX_CRASHES):
        return Failed(restart_error().details)
    return None


def ending_of(end: Failed | Cancelled) -> Ending:
    """Return an end as it is stored."""
    return Ending(state_after(end), dump_end(end))


async def end_stored(storage: Storage, record: Record, end: Failed | Cancelled) -> None:
    """Store how a job ended, unless it is finished by now.

    Raises
    ------
    ServiceError
        STORAGE_FULL or STORAGE_UNAVAILABLE.
    """
    ending = ending_of(end)
    changes: dict[str, object] = {
        "ended_at": storage.now(),
        # After whatever an earlier run of the server counted to.
        "sequence": record.sequence + SEQUENCE_STRIDE,
        "end": ending.end,
    }
    if await storage.write(partial(storage.database.transition, record.id, ending.state, **changes)):
        logs.get_logger().info("job_settled", job_id=record.id, state=ending.state)
