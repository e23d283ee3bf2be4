"""Jobs of the shared queue: how this server adds to it, and takes from it whenever a place is free."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from clipstyler.events import Warning
from clipstyler_server.errors import Reason, ServiceError, internal
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.endings import ending_of
from clipstyler_server.jobs.events import Cancelled, CancelReason, Failed
from clipstyler_server.jobs.fronts import Fronts
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import queue_full_error
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import dump_end, load_warnings
from clipstyler_server.observability import logs
from clipstyler_server.observability.traces import Tracer, enter_span
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.leases import Front
from clipstyler_server.storage.records import Record
from clipstyler_server.storage.shared_queue import SharedQueue
from clipstyler_server.storage.storage import Storage, unavailable_error
from clipstyler_server.turns import QueueFullError

_POLL_S = 1.0
_PAUSE_S = 1.0
_RETRY_S = 5.0
_TRANSIENT = {Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE, Reason.WORKER_NOT_READY}


class SharedIntake:
    """Takes admitted jobs into the shared queue.

    Parameters
    ----------
    fronts, queue
        This server among others, and what waits.
    scheduler
        Knows whether this server takes jobs.
    storage
        Of jobs.
    """

    def __init__(self, fronts: Fronts, queue: SharedQueue, scheduler: Scheduler, storage: Storage) -> None:
        self._fronts = fronts
        self._queue = queue
        self._scheduler = scheduler
        self._storage = storage
        self._prepared: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def reserve(self, caller: Caller) -> Iterator[None]:
        """Reserve a place as far as this server knows; `create` holds the limits for all servers together."""
        self._scheduler.check_open()
        fronts = self._fronts
        if fronts.front is None:
            raise unavailable_error()
        try:
            free = max(0, fronts.devices - fronts.running)
            with fronts.backlog.reserve(free, caller.account, caller.limits.queue_share):
                yield
        except QueueFullError as full:
            raise _full(full) from None

    def check_deadline(self, job: Job) -> None:
        """Refuse nothing: how long jobs take on other servers is not known here."""

    def create(self, record: Record, caller: Caller) -> None:
        """Store a job as one that any server may take, inside of `Storage.write`."""
        backlog, front = self._fronts.backlog, self._fronts.front
        if front is None and record.one_shot:  # if this server dies, others could not see that its call is gone
            raise unavailable_error()
        home = front.id if front and record.one_shot else None
        shared = replace(record, lease_owner=None, lease_until=None, home=home)
        try:
            self._queue.add(shared, backlog.capacity, backlog.capacity_of(caller.limits.queue_share))
        except QueueFullError as full:
            raise _full(full) from None

    def accept(self, job: Job, warnings: tuple[Warning, ...] = ()) -> None:  # noqa: ARG002 - they are stored
        """Keep a stored job as it is: this server may be the one that takes it."""
        for gone in [job_id for job_id in self._prepared if self._fronts.position(job_id) is None]:
            del self._prepared[gone]
        self._prepared[job.id] = job
        job.trace.enter("queue")
        logs.get_logger().info("job_queued", job_id=job.id, steps=job.spec.config.steps)
        logs.get_logger().debug("job_texts", job_id=job.id, style_text=job.spec.style_text)
        self._fronts.notify()

    def prepared(self, job_id: str) -> Job | None:
        """Give away a job that was accepted here; None if it was not."""
        return self._prepared.pop(job_id, None)

    def cancel(self, job: Job, reason: CancelReason) -> None:
        """Cancel a job in the background, wherever it is."""
        self._prepared.pop(job.id, None)
        self._in_background(self._cancel(job.id, reason))

    def reconcile(self, job: Job, warnings: tuple[Warning, ...], problem: ServiceError) -> None:  # noqa: ARG002
        """Cancel a one-shot job; a durable one that is stored is run by whichever server takes it."""
        if job.one_shot:
            self.cancel(job, CancelReason.CALLER_LEFT)

    async def settle(self) -> None:
        """Wait until what was begun in the background is done."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_RETRY_S)
        for task in self._tasks:
            task.cancel()

    async def _cancel(self, job_id: str, reason: CancelReason) -> None:
        """Cancel a job, however long the database is lost: nobody waits for it."""
        while True:
            try:
                await self._storage.write(self._queue.cancel, job_id, reason.value, dump_end(Cancelled(0, reason)))
                return
            except ServiceError:
                await asyncio.sleep(_PAUSE_S)  # logged

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Claims:
    """Takes a job of the shared queue whenever a place of this server is free.

    Parameters
    ----------
    fronts, queue, intake
        This server among others, what waits, and what was accepted here.
    admission
        Makes a job of what is stored of it.
    scheduler
        Runs it.
    storage
        Of jobs.
    tracer
        Begins a trace of each job that was accepted elsewhere.
    """

    def __init__(
        self,
        fronts: Fronts,
        queue: SharedQueue,
        intake: SharedIntake,
        admission: Admission,
        scheduler: Scheduler,
        storage: Storage,
        tracer: Tracer,
    ) -> None:
        self._fronts = fronts
        self._queue = queue
        self._intake = intake
        self._admission = admission
        self._scheduler = scheduler
        self._storage = storage
        self._tracer = tracer

    async def run(self) -> None:
        """Claim jobs, until cancelled."""
        while True:
            try:
                record = await self._claimed()
                if record:
                    await self._begin(record)
                    continue
                await self._return_lost()
            except ServiceError:
                await asyncio.sleep(_PAUSE_S)  # logged
            await self._scheduler.freed.wait(_POLL_S)

    async def _claimed(self) -> Record | None:
        front = self._fronts.front
        if front is None or not self._scheduler.free_places() or self._has_former_jobs(front):
            return None
        return await self._storage.write(self._queue.claim, front.id)

    def _has_former_jobs(self, front: Front) -> bool:
        """Return whether a job of an earlier lease has not ended here yet: it may be the next one to be claimed."""
        return any(job.lease != front.id for job in self._scheduler.jobs.values())

    async def _return_lost(self) -> None:
        """Return jobs that this server has as the database says, but does not know: writing or answering failed."""
        if front := self._fronts.front:
            await self._storage.write(self._queue.release, front.id, list(self._scheduler.jobs))

    async def _begin(self, record: Record) -> None:
        """Hand a claimed job to the scheduler; end it if that is impossible, return it if it is not possible now."""
        lease = record.lease_owner or ""
        if record.cancel:
            await self._end(record, lease, Cancelled(0, CancelReason(record.cancel)))
            return
        try:
            job = await self._job(record, lease)
        except ServiceError as error:
            if error.reason in _TRANSIENT:
                # Not first: what is wrong may be this one's photo, and the others would wait for it.
                await self._storage.write(self._queue.put_back, record.id, lease, False)
                await asyncio.sleep(_PAUSE_S)
                return
            await self._end(record, lease, Failed(error.details))
            return
        except Exception:  # noqa: BLE001 - one unreadable job must not stop the others
            logs.get_logger().exception("job_not_resumed", job_id=record.id)
            await self._end(record, lease, Failed(internal(record.id).details))
            return
        if self._scheduler.draining or not self._fronts.holds(lease):
            await self._storage.write(self._queue.put_back, record.id, lease)
            return
        logs.get_logger().info("job_claimed", job_id=record.id, attempts=record.attempts)
        self._scheduler.accept(job, load_warnings(record.warnings))
        self._fronts.changed.notify()

    async def _job(self, record: Record, lease: str) -> Job:
        job = self._intake.prepared(record.id)
        if job and not record.attempts:
            job.claim(lease, record.sequence)
            return job
        span = self._tracer.begin("recovery")
        enter_span(span)
        try:
            return await self._admission.rebuild(record, record.sequence, lease)
        finally:
            span.end()

    async def _end(self, record: Record, lease: str, end: Failed | Cancelled) -> None:
        ending = ending_of(end)
        row = {"ended_at": self._storage.now(), "end": ending.end, "lease_owner": None}
        await self._storage.write(self._finish, record.id, ending.state, lease, row)

    def _finish(self, job_id: str, state: Any, lease: str, row: dict[str, object]) -> None:
        if self._storage.database.transition(job_id, state, lease, **row):
            logs.get_logger().info("job_settled", job_id=job_id, state=state)


def _full(full: QueueFullError) -> ServiceError:
    return queue_full_error(full.places, full.of_caller, _RETRY_S)
