"""Persists the state of jobs: an end is stored before it is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from clipstyler.events import Result
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.events import End, Failed, JobEvent
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.stored_forms import dump_end, without_bytes
from clipstyler_server.jobs.style_store import made_style
from clipstyler_server.observability import logs
from clipstyler_server.storage.records import State, StyleRecord
from clipstyler_server.storage.storage import Storage

_DELAYS_S = (0.1, 0.5, 2.0)  # before each retry of a short failure
_LONG_DELAY_S = 2.0
_SETTLE_S = 2.0
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class KeptEnd:
    """How a job ended, what its row says of the files that it keeps, and the style that it has made."""

    end: End
    changes: Mapping[str, object] = field(default_factory=dict)
    made: StyleRecord | None = None


@dataclass(frozen=True)
class StoredEvent:
    """The end of a job as it is to be published: without an image's bytes; a failure if it could not be stored.

    `storing` is the task that still tries to store that failure.
    """

    state: State
    event: JobEvent
    storing: asyncio.Task[None] | None = None

    async def stored(self) -> None:
        """Wait until the end is stored."""
        if self.storing:
            await self.storing


class JobPersister:
    """Writes the states of jobs to the storage.

    Parameters
    ----------
    storage
        Of jobs and images.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._tasks: set[asyncio.Task[None]] = set()

    def record_start(self, job: Job) -> None:
        """Record in the background that a run of a job begins."""
        job.attempts += 1
        changes: dict[str, object] = {"started_at": self._storage.now(), "attempts": job.attempts}
        self._in_background(self._try(job, State.RUNNING, changes))

    async def requeue(self, job: Job) -> None:
        """Return a running job to the queue, of this server or of the next one."""
        await self._try(job, State.QUEUED, {"started_at": None, "lost_runs": job.lost_runs})

    async def store_end(self, job: Job, state: State, event: JobEvent, end: End) -> StoredEvent | None:
        """Store the end of a job; one that cannot be stored becomes a failure. None if another server has the job."""
        try:
            kept = await _retried(partial(self._storage.write, self._write_whole, job, state, event, end))
        except ServiceError as error:
            failed = Failed(error.details)
            event = JobEvent(event.sequence, event.time, failed)
            storing = self._in_background(self._persist_eventually(job, event, failed))
            return StoredEvent(State.FAILED, event, storing)
        return StoredEvent(state, replace(event, payload=without_bytes(kept.end)))

    def _write_whole(self, job: Job, state: State, event: JobEvent, end: End) -> KeptEnd:
        """Store an end with its files: between the two, others would delete a file that no row refers to."""
        kept = self._store_files(job, end)
        self._write_end(job, state, event, kept)
        return kept

    def _store_files(self, job: Job, end: End) -> KeptEnd:
        """Store the image and the style of a result, inside of `Storage.write`."""
        if not isinstance(end, Result):
            return KeptEnd(end)
        image = end.image.metadata
        self._storage.blobs.adopt(end.image.path, image.sha256)
        changes: dict[str, object] = {
            "result": image.sha256,
            "stored_bytes": job.stored_bytes + image.size_bytes + len(end.style),
        }
        if end.style:
            changes["style"] = self._storage.blobs.put(end.style)
        if not (end.style and job.fitted_photos):
            return KeptEnd(end, changes)
        made = made_style(job.caller, end.style, self._storage.now())
        return KeptEnd(replace(end, style_digest=made.digest), changes, made)

    async def settle(self) -> None:
        """Wait for background writes, except those that cannot succeed now."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_SETTLE_S)
        for task in self._tasks:
            task.cancel()

    async def _persist_eventually(self, job: Job, event: JobEvent, failed: Failed) -> None:
        """Store a failure, however long that takes."""
        while True:
            await asyncio.sleep(_LONG_DELAY_S)
            try:
                return await self._storage.write(self._write_end, job, State.FAILED, event, KeptEnd(failed))
            except ServiceError:
                continue  # logged

    def _write_end(self, job: Job, state: State, event: JobEvent, kept: KeptEnd) -> None:
        database = self._storage.database
        row = {"ended_at": event.time.timestamp(), "sequence": event.sequence, "end": dump_end(kept.end)}
        changes = {**kept.changes, **row}
        enter = partial(database.transition, job.id, state, None, kept.made)
        if enter(**changes):
            return
        # Recording its start may have failed.
        begun = database.transition(job.id, State.RUNNING, attempts=job.attempts)
        if not (begun and enter(**changes)):
            logs.get_logger().warning("job_already_finished", job_id=job.id, state=state)

    async def _try(self, job: Job, state: State, changes: dict[str, object]) -> None:
        try:
            await self._storage.write(partial(self._storage.database.transition, job.id, state, **changes))
        except ServiceError:
            return  # logged; the end of the job, or the next start of the server, corrects it

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _retried(work: Callable[[], Awaitable[_Value]]) -> _Value:
    """Store something, retrying after each of the short delays."""
    for delay_s in _DELAYS_S:
        try:
            return await work()
        except ServiceError:
            await asyncio.sleep(delay_s)
    return await work()
