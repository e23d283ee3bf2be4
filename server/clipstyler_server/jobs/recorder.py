"""Writes down what happens to jobs: an end is stored before anybody is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from clipstyler_server import logs
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import Event, Failed, Succeeded
from clipstyler_server.jobs.model import Job
from clipstyler_server.jobs.records import State
from clipstyler_server.jobs.storage import Storage

_DELAYS_S = (0.1, 0.5, 2.0)  # before another try of a short failure
_LONG_DELAY_S = 2.0
_SETTLE_S = 2.0


@dataclass(frozen=True)
class Kept:
    """The end of a job as it is to be told: a failure if the true one could not be stored.

    `storing` is what still tries to store that failure.
    """

    state: State
    end: Event
    storing: asyncio.Task[None] | None = None

    async def stored(self) -> None:
        """Wait until the end is stored."""
        if self.storing:
            await self.storing


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

    async def keep(self, job: Job, state: State, end: Event) -> Kept:
        """Store the end of a job; what cannot be stored becomes a failure."""
        changes: dict[str, object] = {}
        try:
            if isinstance(end.payload, Succeeded):
                image = end.payload.finished.image
                changes["result"] = await self._storage.run(self._storage.images.put, image.data)
                changes["stored_bytes"] = job.stored_bytes + len(image.data)
            await self._persist(job, state, end, changes)
        except ServiceError as error:
            failed = Event(end.sequence, end.time, Failed(error))
            return Kept(State.FAILED, failed, self._later(self._persist_at_last(job, failed)))
        return Kept(state, end)

    async def settle(self) -> None:
        """Wait for the notes that nobody waits for, except those that cannot be stored now."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_SETTLE_S)
        for task in self._tasks:
            task.cancel()

    async def _persist(self, job: Job, state: State, end: Event, changes: dict[str, object]) -> None:
        """Store an end, trying again after each of the short delays."""
        for delay_s in _DELAYS_S:
            try:
                return await self._finish(job, state, end, changes)
            except ServiceError:
                await asyncio.sleep(delay_s)
        return await self._finish(job, state, end, changes)

    async def _persist_at_last(self, job: Job, failed: Event) -> None:
        """Store a failure, however long that takes."""
        while True:
            await asyncio.sleep(_LONG_DELAY_S)
            try:
                return await self._finish(job, State.FAILED, failed, {})
            except ServiceError:
                continue  # logged

    async def _finish(self, job: Job, state: State, end: Event, changes: dict[str, object]) -> None:
        changes |= {"ended_at": time.time(), "sequence": end.sequence, "end": self._encode(job, end)}
        await self._storage.run(self._write_end, job, state, changes)

    def _write_end(self, job: Job, state: State, changes: dict[str, object]) -> None:
        store = self._storage.store
        if store.transition(job.id, state, **changes):
            return
        # The note that it began may have failed.
        begun = store.transition(job.id, State.RUNNING, attempts=job.attempts)
        if not (begun and store.transition(job.id, state, **changes)):
            logs.get_logger().warning("job_over_already", job_id=job.id, state=state)

    async def _try(self, job: Job, state: State, changes: dict[str, object]) -> None:
        try:
            await self._storage.run(lambda: self._storage.store.transition(job.id, state, **changes))
        except ServiceError:
            return  # logged; the end of the job makes it good, or the next start of the server

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
