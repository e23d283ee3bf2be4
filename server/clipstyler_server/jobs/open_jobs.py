"""Jobs from their acceptance until their end is stored and published, and the two ways in which they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from clipstyler.events import Result
from clipstyler_server.errors import internal
from clipstyler_server.jobs.chunks import chunks_of
from clipstyler_server.jobs.events import Chunk, End, Failed, state_after
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import draining_error
from clipstyler_server.jobs.persister import JobPersister, StoredEvent
from clipstyler_server.observability import logs
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.spool import remove
from clipstyler_server.storage.records import State


class OpenJobs:
    """The jobs of this server that have not ended. One that was added is finished once, or released.

    Parameters
    ----------
    persister
        Stores their ends.
    metrics
        Counts them.

    Attributes
    ----------
    jobs
        Jobs that wait, run or are being stored, by id.
    """

    def __init__(self, persister: JobPersister, metrics: Metrics) -> None:
        self.jobs: dict[str, Job] = {}
        self._persister = persister
        self._metrics = metrics
        # Of undecided jobs.
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        self._storing: set[asyncio.Task[None]] = set()

    def add(self, job: Job, on_deadline: Callable[[Job], None]) -> None:
        """Take a job in; `on_deadline` is called at its deadline unless its end is decided by then."""
        self.jobs[job.id] = job
        loop = asyncio.get_running_loop()
        self._deadlines[job.id] = loop.call_later(max(0.0, job.remaining_s), on_deadline, job)

    def is_undecided(self, job: Job) -> bool:
        """Return whether a job can still end in any way: it waits or runs."""
        return job.id in self._deadlines

    def finish(self, job: Job, end: End) -> None:
        """Decide the end of a job: in the background it is stored, then published, and the job forgotten."""
        self._deadlines.pop(job.id).cancel()
        self._in_background(self._conclude(job, end))

    def requeue(self, job: Job) -> None:
        """Store in the background that a job which ran is waiting again."""
        self._in_background(self._persister.requeue(job))

    def release(self, job: Job) -> None:
        """Let go of a job that stays stored as waiting."""
        job.trace.end("requeued")
        self.jobs.pop(job.id, None)
        if deadline := self._deadlines.pop(job.id, None):
            deadline.cancel()
        job.gone.set()
        job.disconnect(draining_error())

    async def close(self, timeout_s: float) -> None:
        """Wait for what is being stored, then disconnect from the jobs that are left."""
        if self._storing:
            await asyncio.wait(set(self._storing), timeout=timeout_s)
        for job in list(self.jobs.values()):
            job.disconnect(draining_error())

    async def _conclude(self, job: Job, end: End) -> None:
        """Store the end of a job, then publish it."""
        job.trace.enter("store")
        parts = [job.next_event(part) for part in _parts(end)]
        stored = await self._stored(job, end)
        if isinstance(end, Result):
            remove(end.image.path)  # still there if it could not be stored
        if stored is None:
            self.release(job)
            return
        job.enter(stored.state)
        published = stored.event.payload
        self._report(job, published.error.reason if isinstance(published, Failed) else None)
        for part in parts if stored.state is State.SUCCEEDED else ():
            job.deliver(part)
        job.deliver(stored.event)
        # Until then only this process knows of it.
        await stored.stored()
        del self.jobs[job.id]

    async def _stored(self, job: Job, end: End) -> StoredEvent | None:
        """Store the end of a job as the persister does; after an unexpected error it is a failure, stored or not."""
        event, failed = job.next_event(end), Failed(internal(job.id).details)
        for told in (end, failed):
            event = replace(event, payload=told)
            try:
                return await self._persister.store_end(job, state_after(told), event, told)
            except Exception as error:  # noqa: BLE001 - whatever it is, no job stays open
                logs.get_logger().error("job_end_failed", job_id=job.id, exc_info=error)
        return StoredEvent(State.FAILED, event)

    def _report(self, job: Job, reason: str | None) -> None:
        """Count, trace and log a finished job; one that failed has a reason."""
        self._metrics.job_finished(job.state, job.age_s, job.trace.exemplar)
        self._metrics.tenants.job_finished(job.caller.tenant, job.state)
        job.trace.end(job.state, reason or "")
        logs.get_logger().info(
            "job_finished",
            job_id=job.id,
            state=job.state,
            reason=reason,
            seconds=round(job.age_s, 3),
            **job.log_context,
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        task.add_done_callback(_log_failure)


def _parts(end: End) -> list[Chunk]:
    return chunks_of(end.image.metadata) if isinstance(end, Result) else []


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logs.get_logger().error("job_end_failed", exc_info=error)
