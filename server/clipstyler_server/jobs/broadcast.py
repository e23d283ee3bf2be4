"""The mailbox of one reader: what matters is kept in order, of the rest only the latest.

A reader that does not read costs one progress, one preview and one place in the queue, whatever happens meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from clipstyler_server.engine.base import Previewed, Progressed
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import Cancelled, Event, Failed, Gap, Heartbeat, Queued, Succeeded

# Of these a reader needs the latest only.
LATEST_ONLY = (Queued, Progressed, Previewed)


class Mailbox:
    """Between a job, which never waits, and one reader, who may be slow.

    Parameters
    ----------
    heartbeat_s
        Seconds of silence after which the reader is given a heartbeat.
    passed
        Number of the last event that the reader knows.
    log_expired
        Whether events behind that number are not kept any more.
    """

    def __init__(self, heartbeat_s: float, passed: int = 0, log_expired: bool = False) -> None:
        self._heartbeat_s = heartbeat_s
        self._ordered: deque[Event] = deque()
        self._latest: dict[type, Event] = {}
        self._skipped: Counter[type] = Counter()
        self._passed = passed
        self._log_expired = log_expired
        self._error: ServiceError | None = None
        self._filled = asyncio.Event()

    def put(self, event: Event, skipped: int = 0) -> None:
        """Leave an event; one of which only the latest matters replaces the one that waits, which counts as skipped.

        Parameters
        ----------
        event
            What happened.
        skipped
            Events of its kind that were left out before it.
        """
        kind = type(event.payload)
        if kind in LATEST_ONLY:
            unencoded = event.payload.skipped if isinstance(event.payload, Previewed) else 0
            self._skipped[kind] += skipped + unencoded + (kind in self._latest)
            self._latest[kind] = event
        else:
            self._ordered.append(event)
        self._filled.set()

    def close(self, error: ServiceError) -> None:
        """Give the reader what is here already, then the error."""
        self._error = error
        self._filled.set()

    async def events(self) -> AsyncIterator[Event]:
        """Yield events in their order until the job's end, a gap where some were left out.

        Raises
        ------
        ServiceError
            The mailbox was closed before the job's end.
        """
        while True:
            event = self._next() or await self._wait()
            yield event
            if isinstance(event.payload, Succeeded | Failed | Cancelled):
                return

    def _next(self) -> Event | None:
        waiting = [*self._latest.values(), *list(self._ordered)[:1]]
        if not waiting:
            return None
        event = min(waiting, key=lambda candidate: candidate.sequence)
        if self._skipped[Progressed] or self._skipped[Previewed] or self._log_expired:
            return self._gap(before=event)
        if self._ordered and event is self._ordered[0]:
            self._ordered.popleft()
        else:
            del self._latest[type(event.payload)]
        self._passed = event.sequence
        return event

    def _gap(self, before: Event) -> Event:
        gap = Gap(self._skipped[Progressed], self._skipped[Previewed], self._log_expired)
        self._skipped.clear()
        self._log_expired = False
        self._passed = before.sequence - 1
        return Event(self._passed, before.time, gap)

    async def _wait(self) -> Event:
        """Wait for the next event, or for as long as a heartbeat takes."""
        if self._error:
            raise self._error
        self._filled.clear()
        try:
            await asyncio.wait_for(self._filled.wait(), self._heartbeat_s)
        except TimeoutError:
            return Event(self._passed, datetime.now(UTC), Heartbeat())
        event = self._next()
        if event is None:
            assert self._error is not None
            raise self._error
        return event
