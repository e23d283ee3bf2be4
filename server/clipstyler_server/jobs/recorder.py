"""Writes down what happens to jobs: a state is stored before anybody is told of an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from clipstyler_server import logs
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import Cancelled, Event, Failed, Succeeded
from clipstyler_server.jobs.model import Job
from clipstyler_server.jobs.records import State
from clipstyler_server.jobs.storage import Storage

_DELAYS_S = (0.1, 0.5, 2.0)  # before another try of a short failure
_LONG_DELAY_S = 5.0


class Recorder:
    """Between jobs and the storage.

    Parameters
    ----------
    storage
        What lasts.
    encode
        Turns the last event of a job into bytes of the contract, without the image's.
    """

    def __init__(self, storage: Storage, encode: Callable[[Job, Event], bytes]) -> None:
        self._storage = storage
        self._encode = encode
        self._tasks: set[asyncio.Task[None]] = set()

    def begun(self, job: Job) -> None:
        """Note that a run of a job begins; nobody waits for that."""
        job.attempts += 1
        changes: dict[str, object] = {"started_at": time.time(), "attempts": job.attempts}
        self._later(self._try(job, State.RUNNING, changes))

    async def requeue(self, job: Job) -> None:
        """Let a running job wait for the next server; the run that is broken off does not count."""
        await self._try(job, State.QUEUED, {"attempts": job.attempts - 1, "started_at": None})

    async def keep(self, job: Job, state: State, end: Event) -> tuple[State, Event]:
        """Store the end of a job; returns the end as it is to be told, a failure if it could not be stored."""
        changes: dict[str, object] = {}
        try:
            if isinstance(end.payload, Succeeded):
                data = end.payload.finished.image.data
                changes["result"] = await self._storage.run(self._storage.images.put, data)
                changes["stored_bytes"] = job.stored_bytes + len(data)
            await self._persist(job, state, end, changes, _DELAYS_S)
        except ServiceError as error:
            failed = Event(end.sequence, end.time, Failed(error))
            self._later(self._persist(job, State.FAILED, failed, {}, None))
            return State.FAILED, failed
        return state, end

    async def settle(self) -> None:
        """Wait for the notes that nobody waits for, except those that cannot be stored now."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=2)
        for task in self._tasks:
            task.cancel()

    async def _persist(
        self, job: Job, state: State, end: Event, changes: dict[str, object], delays_s: tuple[float, ...] | None
    ) -> None:
        """Store an end, trying again after each delay; None: until it is stored."""
        reason = end.payload.reason if isinstance(end.payload, Cancelled) else None
        changes |= {"ended_at": time.time(), "sequence": end.sequence, "end": self._encode(job, end)}
        tries = 0
        while True:
            try:
                await self._storage.run(self._finish, job, state, changes)
            except ServiceError:
                if delays_s is not None and tries >= len(delays_s):
                    raise
                await asyncio.sleep(delays_s[tries] if delays_s else _LONG_DELAY_S)
                tries += 1
            else:
                logs.get_logger().debug("job_stored", job_id=job.id, state=state, reason=reason)
                return

    def _finish(self, job: Job, state: State, changes: dict[str, object]) -> None:
        store = self._storage.store
        if store.transition(job.id, state, **changes):
            return
        # The note that it began may have failed.
        if store.transition(job.id, State.RUNNING, attempts=job.attempts) and store.transition(
            job.id, state, **changes
        ):
            return
        logs.get_logger().warning("job_over_already", job_id=job.id, state=state)

    async def _try(self, job: Job, state: State, changes: dict[str, object]) -> None:
        try:
            await self._storage.run(lambda: self._storage.store.transition(job.id, state, **changes))
        except ServiceError:
            return  # logged; the end of the job makes it good, or the next start of the server

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
