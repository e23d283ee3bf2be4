"""One reader's subscription to a job: final and ordered events are kept, of frames only the latest.

A reader that does not read costs one event of each such kind, whatever happens meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from clipstyler.events import Preparing, Preview, Progress, Rendering
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import FINAL, Gap, Heartbeat, JobEvent, Queued

# A reader needs only the latest of these.
LATEST_ONLY = (Queued, Preparing, Progress, Preview, Rendering)


class Subscription:
    """Between a job, which never waits, and one reader, which may be slow.

    Parameters
    ----------
    heartbeat_s
        Seconds of silence after which the reader receives a heartbeat.
    passed
        Sequence number of the last event that the reader has.
    log_expired
        Whether events after that number are no longer stored.
    """

    def __init__(self, heartbeat_s: float, passed: int = 0, log_expired: bool = False) -> None:
        self._heartbeat_s = heartbeat_s
        self._ordered: deque[JobEvent] = deque()
        self._latest: dict[type, JobEvent] = {}
        self._skipped: Counter[type] = Counter()
        self._passed = passed
        self._log_expired = log_expired
        self._error: ServiceError | None = None
        self._filled = asyncio.Event()

    def put(self, event: JobEvent, skipped: int = 0) -> None:
        """Add an event. A frame replaces the pending one of its kind, which then counts as skipped.

        Parameters
        ----------
        event
            What happened.
        skipped
            Events of its kind that were left out before it.
        """
        kind = type(event.payload)
        if kind in LATEST_ONLY:
            unencoded = event.payload.skipped if isinstance(event.payload, Preview) else 0
            self._skipped[kind] += skipped + unencoded + (kind in self._latest)
            self._latest[kind] = event
        else:
            self._ordered.append(event)
        self._filled.set()

    def close(self, error: ServiceError) -> None:
        """Deliver what is pending, then the error."""
        self._error = error
        self._filled.set()

    async def events(self) -> AsyncIterator[JobEvent]:
        """Yield events in order until the job's last one, with a gap where some were left out.

        Raises
        ------
        ServiceError
            The subscription was closed before the job finished.
        """
        while True:
            event = self._next() or await self._wait()
            yield event
            if isinstance(event.payload, FINAL):
                return

    def _next(self) -> JobEvent | None:
        waiting = [*self._latest.values(), *list(self._ordered)[:1]]
        if not waiting:
            return None
        event = min(waiting, key=lambda candidate: candidate.sequence)
        if self._skipped[Progress] or self._skipped[Preview] or self._log_expired:
            return self._gap(before=event)
        if self._ordered and event is self._ordered[0]:
            self._ordered.popleft()
        else:
            del self._latest[type(event.payload)]
        self._passed = event.sequence
        return event

    def _gap(self, before: JobEvent) -> JobEvent:
        gap = Gap(self._skipped[Progress], self._skipped[Preview], self._log_expired)
        self._skipped.clear()
        self._log_expired = False
        self._passed = before.sequence - 1
        return JobEvent(self._passed, before.time, gap)

    async def _wait(self) -> JobEvent:
        """Wait for the next event, or return a heartbeat after the time of silence."""
        if self._error:
            raise self._error
        self._filled.clear()
        try:
            await asyncio.wait_for(self._filled.wait(), self._heartbeat_s)
        except TimeoutError:
            return JobEvent(self._passed, datetime.now(UTC), Heartbeat())
        event = self._next()
        if event is None:
            assert self._error is not None
            raise self._error
        return event
