"""All jobs, finished or not: what is stored, and what the scheduler knows better."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from clipstyler.events import Result
from clipstyler.imaging import ImageMetadata
from clipstyler.spec import StylizationSpec
from clipstyler_server.errors import Reason, ServiceError, error
from clipstyler_server.jobs.chunks import chunks_of, image_bytes
from clipstyler_server.jobs.endings import end_stored
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, Gap, Heartbeat, JobEvent, Queued, StoredEnd
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_request import JobRequest
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.stored_forms import load_end, load_metadata, load_spec, with_bytes
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.records import Record, State
from clipstyler_server.storage.storage import Storage

_NAP_S = 1.0
_READ_AT_ONCE = 20  # jobs of a list; translating them takes the event loop for some milliseconds
_DOWNLOAD_BYTES = 32 * 1024  # a download that is not read holds only so much
_Item = TypeVar("_Item")


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
    """A page of jobs: size, state and tenant to filter by (None for all), the job (time and id) that it comes after."""

    size: int
    state: State | None
    after: tuple[float, str] | None
    scope: str | None


@dataclass(frozen=True)
class JobImage:
    """An image of a job: what describes it, and its bytes, which are read as they are asked for."""

    metadata: ImageMetadata
    parts: AsyncIterator[bytes]


class Catalog:
    """Reads and changes stored jobs.

    `scope` is the tenant whose jobs there are for a caller, None for all: those of others do not exist for it.

    Parameters
    ----------
    storage
        Of jobs and images.
    scheduler
        Has the unfinished jobs.
    """

    def __init__(self, storage: Storage, scheduler: Scheduler) -> None:
        self._storage = storage
        self._list_turns = asyncio.Lock()
        self._scheduler = scheduler
        self._creating: dict[tuple[str, str], asyncio.Future[str]] = {}

    async def create_idempotent(self, request: JobRequest, caller: Caller, create: Callable[[], Awaitable[Job]]) -> str:
        """Create a job unless its request id has one already; returns the job's id either way.

        Parameters
        ----------
        request
            Without a request id, a job is created in any case.
        caller
            Request ids belong to its tenant: another one's are no obstacle and no answer.
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
        key = (caller.tenant, request_id)
        while other := self._creating.get(key):
            await asyncio.wait([other])
        creating = self._creating[key] = asyncio.get_running_loop().create_future()
        try:
            found = await self._find_request(*key)
            if found is None:
                try:
                    return (await create()).id
                except IntegrityError:  # another server was first
                    found = await self._find_request(*key)
        finally:
            del self._creating[key]
            creating.cancel()
        # Only a repetition is worth the time that a digest of a photo takes.
        if found is None or found.payload_digest != await asyncio.to_thread(request.digest):
            raise error(
                Reason.REQUEST_ID_REUSED,
                "request_id {request_id} belongs to another request: use a fresh UUID4 for a new one",
                request_id=request_id,
                stylization=f"stylizations/{found.id}" if found else "",
            )
        return found.id

    def live(self, job_id: str, scope: str | None) -> Job | None:
        """Return a job that waits, runs or is being stored; None if there is none in scope."""
        job = self._scheduler.jobs.get(job_id)
        return job if job and scope in {None, job.caller.tenant} else None

    async def describe(self, job_id: str, scope: str | None) -> JobDescription:
        """Describe a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        record = await self.record(job_id, scope)
        return self._described(record, self._estimates([record]).get(job_id))

    async def jobs(self, query: PageQuery) -> AsyncIterator[JobDescription]:
        """List jobs, newest first, read as they are asked for: a page and one more.

        Lists take turns, so that however many are asked for at once, other calls come between two parts of them.
        """
        after, left = query.after, query.size + 1
        while left > 0:
            size = min(left, _READ_AT_ONCE)
            async with self._list_turns:
                found = await self._storage.read(self._storage.database.newest, size, query.state, after, query.scope)
            estimates = self._estimates(found)
            for record in found:
                yield self._described(record, estimates.get(record.id))
            if len(found) < size:
                return
            after, left = (found[-1].created_at, found[-1].id), left - size

    async def ending(self, job_id: str, scope: str | None, after: int) -> list[JobEvent] | None:
        """Return what is stored of a finished job: a gap, chunks of a large result, the end. None if unfinished.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND.
        """
        return self.ending_of(await self.record(job_id, scope), after)

    @staticmethod
    def ending_of(record: Record, after: int) -> list[JobEvent] | None:
        """Return what is stored of a finished job, as `ending` does."""
        if record.end is None or record.ended_at is None:
            return None
        end, when = load_end(record.end), datetime.fromtimestamp(record.ended_at, UTC)
        chunks = chunks_of(end.image) if isinstance(end, Result) else []
        first = record.sequence - len(chunks)
        numbered = [JobEvent(number, when, chunk) for number, chunk in enumerate(chunks, first) if number > after]
        return [*_gap_before(first, after, when), *numbered, JobEvent(record.sequence, when, end)]

    async def complete(self, event: JobEvent) -> JobEvent:
        """Return an event as callers receive it: with the bytes of an image that are stored only.

        Raises
        ------
        ServiceError
            IMAGE_NOT_FOUND: the job was deleted meanwhile.
        """
        size = image_bytes(event.payload)
        match event.payload:
            case Chunk() as chunk:
                data = await self._part(chunk.digest, chunk.offset, size)
                return replace(event, payload=replace(chunk, data=data))
            case Result(image=ImageMetadata() as image) as result if size:
                return replace(event, payload=with_bytes(result, await self._part(image.sha256, 0, size)))
        return event

    async def nap(self, passed: int) -> JobEvent:
        """Wait a moment for a job to be resumed; returns a heartbeat."""
        await asyncio.sleep(_NAP_S)
        return JobEvent(passed, datetime.now(UTC), Heartbeat())

    async def cancel(self, job_id: str, scope: str | None) -> None:
        """Cancel a job; a finished one stays as it is. A waiting one is finished when this returns.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND.
        """
        async with self._storage.claiming:
            job = self.live(job_id, scope)
            if job is None:
                await self._cancel_stored(job_id, scope)
        if job:
            runs = job.id in self._scheduler.running
            self._scheduler.cancel(job, CancelReason.REQUESTED)
            if runs:
                await self._note_cancel(job_id)
            else:
                await job.gone.wait()
                if job.end is None:  # it waits or runs elsewhere
                    await self.cancel(job_id, scope)

    async def delete(self, job_id: str, scope: str | None) -> None:
        """Delete a finished job, and the images that no other job has.

        Raises
        ------
        ServiceError
            STYLIZATION_NOT_FOUND or STYLIZATION_NOT_FINISHED.
        """
        record = await self.record(job_id, scope)
        if not record.state.is_final or job_id in self._scheduler.jobs:
            raise error(
                Reason.STYLIZATION_NOT_FINISHED,
                "stylizations/{id} is {state}: cancel it first",
                id=job_id,
                state=record.state,
            )
        await self._storage.write(self._storage.delete, record)

    async def content(self, job_id: str, scope: str | None) -> JobImage:
        """Return the photo of a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        record = await self.record(job_id, scope)
        metadata = load_metadata(record.content_metadata)
        return JobImage(metadata, self._parts(record.content, metadata.size_bytes))

    async def preview(self, job_id: str, scope: str | None) -> JobImage:
        """Return the latest preview of a running job, or raise `ServiceError`: not found."""
        await self.record(job_id, scope)
        job = self._scheduler.jobs.get(job_id)
        if job is None or job.preview is None:
            raise error(
                Reason.IMAGE_NOT_FOUND, "stylizations/{id} has no preview: there is one while it runs", id=job_id
            )
        return JobImage(job.preview.metadata, _stream([job.preview.data]))

    async def result(self, job_id: str, scope: str | None) -> JobImage:
        """Return the result of a job, or raise `ServiceError`: not found."""
        record = await self.record(job_id, scope)
        end = load_end(record.end) if record.end else None
        if record.result is None or not isinstance(end, Result):
            raise error(
                Reason.IMAGE_NOT_FOUND, "stylizations/{id} is {state} and has no result", id=job_id, state=record.state
            )
        return JobImage(end.image, self._parts(record.result, end.image.size_bytes))

    async def _find_request(self, tenant: str, request_id: str) -> Record | None:
        return await self._storage.read(self._storage.database.find_request, tenant, request_id)

    async def _note_cancel(self, job_id: str) -> None:
        """Store that a running job is being cancelled."""
        with contextlib.suppress(ServiceError):  # logged; it is cancelled, unless this server dies first
            await self._storage.write(self._storage.database.note_cancel, job_id, CancelReason.REQUESTED.value)

    async def _cancel_stored(self, job_id: str, scope: str | None) -> None:
        """Cancel a job that was not resumed yet."""
        record = await self.record(job_id, scope)
        if not record.state.is_final:
            await end_stored(self._storage, record, Cancelled(0, CancelReason.REQUESTED))

    def _described(self, record: Record, queued: Queued | None) -> JobDescription:
        job = self._scheduler.jobs.get(record.id)
        end = load_end(record.end) if record.end else None
        if job and job.end and end is None:  # published, and not stored yet
            end = job.end
            record = replace(record, state=job.state)
        elif job and job.state is State.RUNNING:
            record = replace(record, state=State.RUNNING)
        spec = load_spec(record.spec)
        is_waiting = record.state is State.QUEUED
        return JobDescription(record, spec, end, queued if is_waiting else None, _step(record, spec, end, job))

    def _estimates(self, records: list[Record]) -> Mapping[str, Queued]:  # noqa: ARG002 - the scheduler knows all
        """Return the positions of those jobs that wait."""
        return self._scheduler.outlook.queue_estimates()

    async def record(self, job_id: str, scope: str | None) -> Record:
        """Return what is stored of a job, or raise `ServiceError` STYLIZATION_NOT_FOUND."""
        record = await self._storage.read(self._storage.database.get, job_id)
        if record is None or scope not in {None, record.tenant}:
            raise error(Reason.STYLIZATION_NOT_FOUND, "there is no stylizations/{id}", id=job_id)
        return record

    async def _parts(self, digest: str, size: int) -> AsyncIterator[bytes]:
        for offset in range(0, size, _DOWNLOAD_BYTES):
            yield await self._part(digest, offset, _DOWNLOAD_BYTES)

    async def _part(self, digest: str, offset: int, size: int) -> bytes:
        data = await self._storage.read(self._storage.blobs.read, digest, offset, size)
        if data is None:
            raise error(Reason.IMAGE_NOT_FOUND, "the image {digest} is gone", digest=digest)
        return data


async def _stream(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    for item in items:
        yield item


def _gap_before(first: int, after: int, when: datetime) -> list[JobEvent]:
    """A gap, unless the reader has everything before the first stored event."""
    return [] if after >= first - 1 else [JobEvent(first - 1, when, Gap(0, 0, log_expired=True))]


def _step(record: Record, spec: StylizationSpec, end: StoredEnd | None, job: Job | None) -> int:
    """Steps completed; 0 of a job that failed."""
    if isinstance(end, Result):
        return end.steps or spec.config.steps
    if isinstance(end, Cancelled):
        return end.step
    if end:
        return 0
    return job.step if job else record.step
