"""All jobs, over or not, as the contract shows them: what is stored, with what the dispatcher knows better."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError

from clipstyler.imaging import Limits, read_header
from clipstyler.v1 import event_pb2, options_pb2, stylization_pb2
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler_server.errors import Reason, ServiceError
from clipstyler_server.jobs.dispatcher import CHUNK_BYTES, INLINE_BYTES, Dispatcher
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, Event, Gap, Heartbeat, Queued
from clipstyler_server.jobs.model import Job
from clipstyler_server.jobs.records import Record, State
from clipstyler_server.jobs.storage import Storage
from clipstyler_server.services import to_proto
from clipstyler_server.services.admission import payload_digest
from clipstyler_server.services.endings import end_stored
from clipstyler_server.services.from_proto import UPLOADS, PageQuery, read_request_id
from clipstyler_server.settings import Settings

_NAP_S = 1.0


class Archive:
    """Reads and changes stored jobs.

    Parameters
    ----------
    settings
        Limits of images.
    storage
        What lasts.
    dispatcher
        Has the jobs that are not over.
    """

    def __init__(self, settings: Settings, storage: Storage, dispatcher: Dispatcher) -> None:
        self._limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        self._upload_kept_s = settings.upload_kept_s
        self._storage = storage
        self._dispatcher = dispatcher
        self._creating: dict[str, asyncio.Future[str]] = {}

    async def once(self, request: pb.CreateStylizationRequest, create: Callable[[], Awaitable[Job]]) -> str:
        """Create a job unless its request id has one already; returns the job's id either way.

        Raises
        ------
        ServiceError
            REQUEST_ID_REUSED, INVALID_FIELD, and what `create` raises.
        """
        request_id = read_request_id(request)
        digest = await asyncio.to_thread(payload_digest, request)
        while other := self._creating.get(request_id):
            await asyncio.wait([other])
        creating = self._creating[request_id] = asyncio.get_running_loop().create_future()
        try:
            if (found := await self._storage.look(self._storage.store.find_request, request_id)) is None:
                try:
                    return (await create()).id
                except IntegrityError:  # another server was first
                    found = await self._storage.look(self._storage.store.find_request, request_id)
        finally:
            del self._creating[request_id]
            creating.cancel()
        if found is None or found.payload_digest != digest:
            raise ServiceError(
                Reason.REQUEST_ID_REUSED,
                f"request_id {request_id} belongs to another request: use a fresh UUID4 for a new one",
                metadata={"stylization": to_proto.name(found.id)} if found else None,
            )
        return found.id

    async def describe(self, job_id: str) -> stylization_pb2.Stylization:
        """Tell how a job is.

        Raises
        ------
        ServiceError
            NOT_FOUND.
        """
        return self._described(await self._record(job_id), self._dispatcher.outlook())

    async def page(self, query: PageQuery) -> pb.ListStylizationsResponse:
        """List one page, and how to ask for the next. It is cut short where its message would become too large."""
        store = self._storage.store
        found = await self._storage.look(store.newest, query.size + 1, query.state, query.before)
        outlook = self._dispatcher.outlook()
        page, size = pb.ListStylizationsResponse(), 0
        for last, record in zip([None, *found], found, strict=False):
            described = self._described(record, outlook)
            size += described.ByteSize()
            if last and (size > INLINE_BYTES or len(page.stylizations) == query.size):
                page.next_page_token = to_proto.page_token(last, query.state)
                break
            page.stylizations.append(described)
        return page

    async def end(self, job_id: str, after: int) -> list[event_pb2.StylizationEvent]:
        """Return what is kept of a job that is over: a gap, chunks of a large result, its end. Empty: it is not over.

        Raises
        ------
        ServiceError
            NOT_FOUND.
        """
        record = await self._record(job_id)
        if record.end is None:
            return []
        end = event_pb2.StylizationEvent.FromString(record.end)
        data = await self._bytes(record.result) if record.result else b""
        chunks = []
        if len(data) > INLINE_BYTES:
            chunks = [(offset, data[offset : offset + CHUNK_BYTES]) for offset in range(0, len(data), CHUNK_BYTES)]
        elif data:
            end.result.image.data = data
        first = record.sequence - len(chunks)
        when = end.time.ToDatetime(UTC)
        events = [] if after >= first - 1 else [to_proto.event(job_id, Event(first - 1, when, Gap(0, 0, True)))]
        for number, (offset, part) in enumerate(chunks, start=first):
            if number > after:
                events.append(to_proto.event(job_id, Event(number, when, Chunk(offset, memoryview(part)))))
        return [*events, end]

    async def nap(self, job_id: str, passed: int) -> event_pb2.StylizationEvent:
        """Wait a moment for a job to be taken up; returns a heartbeat."""
        await asyncio.sleep(_NAP_S)
        return to_proto.event(job_id, Event(passed, datetime.now(UTC), Heartbeat()))

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; one that is over stays as it is. One that waits is over when this returns.

        Raises
        ------
        ServiceError
            NOT_FOUND.
        """
        async with self._storage.claiming:
            job = self._dispatcher.jobs.get(job_id)
            if job is None:
                await self._cancel_stored(job_id)
        if job:
            runs = job is self._dispatcher.running
            self._dispatcher.cancel(job, CancelReason.REQUESTED)
            if not runs:
                await job.ended.wait()

    async def _cancel_stored(self, job_id: str) -> None:
        """Cancel a job that was not taken up yet."""
        record = await self._record(job_id)
        if record.state.is_final:
            return
        error = ServiceError(Reason.CANCELLED, "it was cancelled before the work began")
        await end_stored(self._storage, record, Cancelled(0, error, CancelReason.REQUESTED))

    async def delete(self, job_id: str) -> None:
        """Delete a job that is over, and the images that no other job has.

        Raises
        ------
        ServiceError
            NOT_FOUND or NOT_OVER.
        """
        record = await self._record(job_id)
        if not record.state.is_final or job_id in self._dispatcher.jobs:
            raise ServiceError(Reason.NOT_OVER, f"{to_proto.name(job_id)} is {record.state}: cancel it first")
        await self._storage.run(self._storage.delete, record)

    async def image(self, job_id: str, kind: int) -> tuple[event_pb2.Image, bytes]:
        """Return an image of a job: what it is, and its bytes.

        Raises
        ------
        ServiceError
            NOT_FOUND: there is no such job, or no such image of it yet.
        """
        record = await self._record(job_id)
        if kind == stylization_pb2.IMAGE_KIND_PREVIEW:
            job = self._dispatcher.jobs.get(job_id)
            if job is None or job.preview is None:
                raise _missing(f"{to_proto.name(job_id)} has no preview: there is one while it runs")
            return to_proto.image(job.preview.image, with_data=False), job.preview.image.data
        if kind == stylization_pb2.IMAGE_KIND_CONTENT:
            data = await self._bytes(record.content)
            return self._content(data), data
        if record.result is None or record.end is None:
            raise _missing(f"{to_proto.name(job_id)} is {record.state} and has no result")
        return event_pb2.StylizationEvent.FromString(record.end).result.image, await self._bytes(record.result)

    async def keep_upload(self, photo: bytes) -> pb.UploadImageResponse:
        """Keep an uploaded photo for a while."""
        expires_at = time.time() + self._upload_kept_s
        digest = await self._storage.run(self._storage.keep_upload, photo, expires_at)
        response = pb.UploadImageResponse(upload=UPLOADS + digest)
        response.expire_time.FromSeconds(int(expires_at))
        return response

    def _content(self, data: bytes) -> event_pb2.Image:
        header = read_header(data, self._limits)
        known = {"JPEG": options_pb2.IMAGE_FORMAT_JPEG, "PNG": options_pb2.IMAGE_FORMAT_PNG}
        known["WEBP"] = options_pb2.IMAGE_FORMAT_WEBP
        return event_pb2.Image(
            format=known.get(header.format, options_pb2.IMAGE_FORMAT_UNSPECIFIED),
            width=header.width,
            height=header.height,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
        )

    def _described(self, record: Record, outlook: Mapping[str, Queued]) -> stylization_pb2.Stylization:
        job = self._dispatcher.jobs.get(record.id)
        if job and job.end and not record.state.is_final:  # told, and not stored yet
            record = dataclasses.replace(record, state=job.state, end=to_proto.stored_end(job.id, job.end))
        message = to_proto.stylization(record)
        if job is None or record.state.is_final:
            return message
        message.steps = job.order.config.steps
        if job.state is State.RUNNING:
            message.state = stylization_pb2.STATE_RUNNING
            message.step = job.step
        elif queued := outlook.get(job.id):
            message.queue_position = queued.position
            if queued.start:
                message.estimated_start_time.FromDatetime(queued.start)
        return message

    async def _record(self, job_id: str) -> Record:
        record = await self._storage.look(self._storage.store.get, job_id)
        if record is None:
            raise _missing(f"there is no {to_proto.name(job_id)}")
        return record

    async def _bytes(self, digest: str) -> bytes:
        data = await self._storage.look(self._storage.images.get, digest)
        if data is None:
            raise _missing(f"the image {digest} is gone")
        return data


def _missing(message: str) -> ServiceError:
    return ServiceError(Reason.NOT_FOUND, message)
