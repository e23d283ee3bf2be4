"""Persists the state of jobs that were claimed under a lease: once the lease has ended, nothing more is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.events import End, Failed, JobEvent
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.persister import JobPersister, KeptEnd, StoredEvent
from clipstyler_server.jobs.stored_forms import dump_end, without_bytes
from clipstyler_server.observability import logs
from clipstyler_server.storage.records import State
from clipstyler_server.storage.shared_queue import SharedQueue
from clipstyler_server.storage.storage import Storage

_RETRY_S = 0.5


class LeasedPersister(JobPersister):
    """Writes the states of claimed jobs.

    Parameters
    ----------
    storage, queue
        Of jobs, images, and what waits.
    holds
        Whether this server has a lease.
    """

    def __init__(self, storage: Storage, queue: SharedQueue, holds: Callable[[str], bool]) -> None:
        super().__init__(storage)
        self._queue = queue
        self._holds = holds

    def record_start(self, job: Job) -> None:
        """Record in the background that a run of a job begins."""
        job.attempts += 1
        changes: dict[str, object] = {"started_at": self._storage.now(), "attempts": job.attempts}
        recording = partial(self._storage.database.describe_run, job.id, job.lease, **changes)
        self._in_background(self._write_quietly(recording))

    async def requeue(self, job: Job) -> None:
        """Return a running job to the shared queue."""
        await self._write_quietly(partial(self._put_back, job.id, job.lease, job.lost_runs))

    def _put_back(self, job_id: str, lease: str, lost_runs: int) -> bool:
        has_it = self._storage.database.describe_run(job_id, lease, lost_runs=lost_runs)
        return has_it and self._queue.put_back(job_id, lease)

    async def store_end(self, job: Job, state: State, event: JobEvent, end: End) -> StoredEvent | None:
        """Store the end of a job; a full disk, or a lost file, makes it a failure. None if another server has the job.

        While the storage does not answer, this tries again, but no longer than the lease lasts: nothing is published
        that is not stored.
        """
        kept: KeptEnd | None = None
        while self._holds(job.lease):
            try:
                if kept is None:
                    kept = await self._storage.write(self._store_files, job, end)
                if await self._finished(job, state, event, kept):
                    return StoredEvent(state, replace(event, payload=without_bytes(kept.end)))
                break
            except ServiceError as error:
                if kept is None and _is_final(error):
                    state, kept = State.FAILED, KeptEnd(Failed(error.details))
                    continue
            await asyncio.sleep(_RETRY_S)
        logs.get_logger().warning("job_not_held", job_id=job.id, state=state)
        return None

    async def _finished(self, job: Job, state: State, event: JobEvent, kept: KeptEnd) -> bool:
        row = {"ended_at": self._storage.now(), "sequence": event.sequence, "end": dump_end(kept.end)}
        changes = {**kept.changes, **row, "lease_owner": None}
        finishing = partial(self._storage.database.transition, job.id, state, job.lease, kept.made, **changes)
        return await self._storage.write(finishing)

    async def _write_quietly(self, work: Callable[[], bool]) -> None:
        try:
            await self._storage.write(work)
        except ServiceError:
            return  # logged; `Claims`, or whoever takes the job over, corrects it


def _is_final(error: ServiceError) -> bool:
    """Return whether no later try stores a result: the disk is full, or its file is gone."""
    return error.reason is Reason.STORAGE_FULL or isinstance(error.__cause__, FileNotFoundError)
