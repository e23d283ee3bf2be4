"""All jobs, finished or not: what is stored, and what the scheduler knows better."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError

from clipstyler.events import Result
from clipstyler.imaging import ImageMetadata
from clipstyler.spec import StylizationSpec
from clipstyler_server.errors import Reason, error
from clipstyler_server.jobs.admission import JobRequest
from clipstyler_server.jobs.chunks import chunks_of, needs_chunks
from clipstyler_server.jobs.endings import end_stored
from clipstyler_server.jobs.events import Cancelled, CancelReason, Gap, Heartbeat, JobEvent, Queued, StoredEnd
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import load_end, load_metadata, load_spec, with_bytes, without_bytes
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage

_NAP_S = 1.0


@dataclass(frozen=True)
class JobDescription:
    """A job as callers see it.

    Attributes
    ----------
    record
        What is stored, with the present state.
    spec
        What is run, resolved.
    end
        How it ended; None until it is finished.
    queued
        Its position, while it waits.
    step
        Steps completed.
    """

    record: Record
    spec: StylizationSpec
    end: StoredEnd | None
    queued: Queued | None
    step: int


@dataclass(frozen=True)
class PageQuery:
    """A page of jobs: size, state to filter by (None for all), and the job (time and id) that it comes after."""

    size: int
    state: State | None
    after: tuple[float, str] | None


@dataclass(frozen=True)
class JobImage:
    """An image of a job."""

    metadata: ImageMetadata
    data: bytes


class Catalog:
    """Reads and changes stored jobs.

    Parameters
    ----------
    storage
        Of jobs and images.
    scheduler
        Has the unfinished jobs.
    """

    def __init__(self, storage: Storage, scheduler: Scheduler) -> None:
        self._storage = storage
        self._scheduler = scheduler
        self._creating: dict[str, asyncio.Future[str]] = {}

    async def create_idempotent(self, request: JobRequest, create: Callable[[], Awaitable[Job]]) -> str:
        """Create a job unless its request id has one already; returns the job's id either way.

        Parameters
        ----------
        request
            Without a request id, a job is created in any case.
        create
            Admits the job.

        Raises
        ------
        ServiceError
            REQUEST_ID_REUSED, and what `create` raises.
        """
        request_id = request.request_id
        if not request_id:
            return (await create()).id
        digest = await asyncio.to_thread(request.digest)
        while other := self._creating.get(request_id):
            await asyncio.wait([other])
        creating = self._creating[request_id] = asyncio.get_running_loop().create_future()
        try:
            found = await self._find_request(request_id)
            if found is None:
                try:
                    return (await create()).id
                except IntegrityError:  # another server was first
                    found = await self._find_request(request_id)
        finally:
            del self._creating[request_id]
            creating.cancel()
        if found is None or found.payload_digest != digest:
            raise error(
                Reason.REQUEST_ID_REUSED,
                "request_id {request_id} belongs to another request: use a fresh UUID4 for a new one",
                request_id=request_id,
                stylization=f"stylizations/{found.id}" if found else "",
            )
        return found.id

    async def describe(self, job_id: str) -> JobDescription:
        """Describe a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        return self._described(await self._record(job_id), self._scheduler.queue_estimates().get(job_id))

    async def page(self, query: PageQuery) -> list[JobDescription]:
        """List a page of jobs, newest first, and one more if there are more."""
        database = self._storage.database
        found = await self._storage.read(database.newest, query.size + 1, query.state, query.after)
        estimates = self._scheduler.queue_estimates()
        return [self._described(record, estimates.get(record.id)) for record in found]

    async def ending(self, job_id: str, after: int) -> list[JobEvent]:
        """Return what is stored of a finished job: a gap, chunks of a large result, the end. Empty if unfinished.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND.
        """
        record = await self._record(job_id)
        if record.end is None or record.ended_at is None:
            return []
        end, when = load_end(record.end), datetime.fromtimestamp(record.ended_at, UTC)
        if not isinstance(end, Result):
            return [*_gap_before(record.sequence, after, when), JobEvent(record.sequence, when, end)]
        data = await self._blob(record.result or "")
        chunks = chunks_of(data) if needs_chunks(data) else []
        first = record.sequence - len(chunks)
        parts = [JobEvent(number, when, part) for number, part in enumerate(chunks, first) if number > after]
        return [*_gap_before(first, after, when), *parts, JobEvent(record.sequence, when, with_bytes(end, data))]

    async def nap(self, passed: int) -> JobEvent:
        """Wait a moment for a job to be resumed; returns a heartbeat."""
        await asyncio.sleep(_NAP_S)
        return JobEvent(passed, datetime.now(UTC), Heartbeat())

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; a finished one stays as it is. A waiting one is finished when this returns.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND.
        """
        async with self._storage.claiming:
            job = self._scheduler.jobs.get(job_id)
            if job is None:
                await self._cancel_stored(job_id)
        if job:
            runs = job is self._scheduler.running
            self._scheduler.cancel(job, CancelReason.REQUESTED)
            if not runs:
                await job.ended.wait()

    async def delete(self, job_id: str) -> None:
        """Delete a finished job, and the images that no other job has.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND or STYLIZATION_NOT_FINISHED.
        """
        record = await self._record(job_id)
        if not record.state.is_final or job_id in self._scheduler.jobs:
            raise error(
                Reason.STYLIZATION_NOT_FINISHED,
                "stylizations/{id} is {state}: cancel it first",
                id=job_id,
                state=record.state,
            )
        await self._storage.write(self._storage.delete, record)

    async def content(self, job_id: str) -> JobImage:
        """Return the photo of a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        record = await self._record(job_id)
        return JobImage(load_metadata(record.content_metadata), await self._blob(record.content))

    async def preview(self, job_id: str) -> JobImage:
        """Return the latest preview of a running job, or raise `ServiceError`: not found."""
        await self._record(job_id)
        job = self._scheduler.jobs.get(job_id)
        if job is None or job.preview is None:
            raise error(
                Reason.IMAGE_NOT_FOUND, "stylizations/{id} has no preview: there is one while it runs", id=job_id
            )
        return JobImage(job.preview.metadata, job.preview.data)

    async def result(self, job_id: str) -> JobImage:
        """Return the result of a job, or raise `ServiceError`: not found."""
        record = await self._record(job_id)
        end = load_end(record.end) if record.end else None
        if record.result is None or not isinstance(end, Result):
            raise error(
                Reason.IMAGE_NOT_FOUND, "stylizations/{id} is {state} and has no result", id=job_id, state=record.state
            )
        return JobImage(end.image, await self._blob(record.result))

    async def _find_request(self, request_id: str) -> Record | None:
        return await self._storage.read(self._storage.database.find_request, request_id)

    async def _cancel_stored(self, job_id: str) -> None:
        """Cancel a job that was not resumed yet."""
        record = await self._record(job_id)
        if not record.state.is_final:
            await end_stored(self._storage, record, Cancelled(0, CancelReason.REQUESTED))

    def _described(self, record: Record, queued: Queued | None) -> JobDescription:
        job = self._scheduler.jobs.get(record.id)
        end = load_end(record.end) if record.end else None
        if job and job.end and end is None:  # published, and not stored yet
            end = without_bytes(job.end)
            record = replace(record, state=job.state)
        elif job and job.state is State.RUNNING:
            record = replace(record, state=State.RUNNING)
        spec = load_spec(record.spec)
        is_waiting = record.state is State.QUEUED
        return JobDescription(record, spec, end, queued if is_waiting else None, _step(spec, end, job))

    async def _record(self, job_id: str) -> Record:
        record = await self._storage.read(self._storage.database.get, job_id)
        if record is None:
            raise error(Reason.STYLIZATION_NOT_FOUND, "there is no stylizations/{id}", id=job_id)
        return record

    async def _blob(self, digest: str) -> bytes:
        data = await self._storage.read(self._storage.blobs.get, digest)
        if data is None:
            raise error(Reason.IMAGE_NOT_FOUND, "the image {digest} is gone", digest=digest)
        return data


def _gap_before(first: int, after: int, when: datetime) -> list[JobEvent]:
    """A gap, unless the reader has everything before the first stored event."""
    return [] if after >= first - 1 else [JobEvent(first - 1, when, Gap(0, 0, log_expired=True))]


def _step(spec: StylizationSpec, end: StoredEnd | None, job: Job | None) -> int:
    """Steps completed; 0 of a job that failed."""
    if isinstance(end, Result):
        return spec.config.steps
    if isinstance(end, Cancelled):
        return end.step
    return job.step if job and end is None else 0
