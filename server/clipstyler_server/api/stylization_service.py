"""`clipstyler.v1.StylizationService`: jobs, and the one-shot call, which is a job for the duration of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from clipstyler.events import Preview, Progress, Result
from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.event_pb2 import StylizationEvent
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceServicer
from clipstyler_server.api.callers import current_caller
from clipstyler_server.api.codec.events import event_message
from clipstyler_server.api.codec.images import image_messages
from clipstyler_server.api.codec.pages import page_token, read_page
from clipstyler_server.api.codec.requests import (
    UPLOADS,
    read_image_kind,
    read_job,
    read_one_shot,
    read_watch,
)
from clipstyler_server.api.codec.stylization import stylization_message
from clipstyler_server.api.codec.values import read_stylization_name, timestamp
from clipstyler_server.api.following import Followed, Follower
from clipstyler_server.api.sending import Deferred
from clipstyler_server.api.uploads import receive
from clipstyler_server.errors import ServiceError
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.catalog import Catalog, JobImage
from clipstyler_server.jobs.chunks import INLINE_BYTES, image_bytes
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, Draft, Failed, Gap, JobEvent, Payload
from clipstyler_server.jobs.intake import Intake
from clipstyler_server.jobs.job import Job
from clipstyler_server.jobs.job_errors import cancelled_error, draining_error
from clipstyler_server.jobs.upload_store import UploadStore
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.settings import Settings

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]
_EventResponse = TypeVar("_EventResponse", pb.StylizeResponse, pb.WatchStylizationResponse)


class StylizationService(StylizationServiceServicer):
    """Serves jobs.

    Parameters
    ----------
    settings
        Heartbeats, retention and limits.
    admission, intake
        Turns a request into a job, or refuses it; takes the job.
    catalog
        Has all jobs.
    follower
        Streams their events.
    uploads
        Keeps uploaded photos.
    metrics
        Counts frames.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        intake: Intake,
        catalog: Catalog,
        follower: Follower,
        uploads: UploadStore,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._intake = intake
        self._catalog = catalog
        self._follower = follower
        self._uploads = uploads
        self._metrics = metrics

    async def Stylize(  # type: ignore[override]
        self, request: pb.StylizeRequest, context: Context
    ) -> AsyncIterator[pb.StylizeResponse | Deferred]:
        """Stylize one photo for the duration of the call."""
        asked = read_one_shot(request, context.time_remaining())
        request.Clear()  # the call outlives its photo
        admitting = self._admission.admit(asked, current_caller(), one_shot=True)
        del asked
        job = await admitting
        # However the call ends (cancel, deadline, a broken connection), its job does not outlive it.
        context.add_done_callback(partial(self._call_ended, job))  # type: ignore[arg-type]
        async with aclosing(self._follower.of(job)) as events:
            async for event in events:
                yield self._response(pb.StylizeResponse, job.id, event)
                self._count(event)
                if isinstance(event, JobEvent) and (error := _call_error(event.payload)):
                    raise error

    async def CreateStylization(
        self, request: pb.CreateStylizationRequest, context: Context
    ) -> pb.CreateStylizationResponse:
        """Create a durable job, once per request id."""
        asked = read_job(request)
        request.Clear()
        caller = current_caller()
        create = partial(self._admission.admit, asked, caller, one_shot=False)
        job_id = await self._catalog.create_idempotent(asked, caller, create)
        return pb.CreateStylizationResponse(stylization=await self._describe(job_id))

    async def GetStylization(
        self,
        request: pb.GetStylizationRequest,
        context: Context,
    ) -> pb.GetStylizationResponse:
        """Get a job."""
        return pb.GetStylizationResponse(stylization=await self._describe(read_stylization_name(request.name)))

    async def ListStylizations(
        self,
        request: pb.ListStylizationsRequest,
        context: Context,
    ) -> pb.ListStylizationsResponse:
        """List jobs, newest first. A page is cut short if its message would become too large."""
        query = read_page(request, current_caller().scope)
        response, size, last = pb.ListStylizationsResponse(), 0, None
        async for job in self._catalog.jobs(query):
            message = stylization_message(job, self._settings.retention_s)
            size += message.ByteSize()
            if last and (size > INLINE_BYTES or len(response.stylizations) == query.size):
                response.next_page_token = page_token(last, query)
                break
            response.stylizations.append(message)
            last = job.record
        return response

    async def WatchStylization(  # type: ignore[override]
        self,
        request: pb.WatchStylizationRequest,
        context: Context,
    ) -> AsyncIterator[pb.WatchStylizationResponse | Deferred]:
        """Stream the events of a job."""
        job_id, after = read_watch(request)
        async with aclosing(self._follower.events(job_id, current_caller(), after)) as events:
            async for event in events:
                yield self._response(pb.WatchStylizationResponse, job_id, event)
                self._count(event)

    async def CancelStylization(
        self,
        request: pb.CancelStylizationRequest,
        context: Context,
    ) -> pb.CancelStylizationResponse:
        """Cancel a job."""
        job_id = read_stylization_name(request.name)
        await self._catalog.cancel(job_id, current_caller().scope)
        return pb.CancelStylizationResponse(stylization=await self._describe(job_id))

    async def DeleteStylization(
        self,
        request: pb.DeleteStylizationRequest,
        context: Context,
    ) -> pb.DeleteStylizationResponse:
        """Delete a finished job and its images."""
        await self._catalog.delete(read_stylization_name(request.name), current_caller().scope)
        return pb.DeleteStylizationResponse()

    async def GetStylizationImage(
        self,
        request: pb.GetStylizationImageRequest,
        context: Context,
    ) -> AsyncIterator[pb.GetStylizationImageResponse]:
        """Stream an image of a job."""
        if messages := await self._follower.image(request, current_caller()):
            async for message in messages:
                yield message
            return
        image = await self._image(read_stylization_name(request.name), read_image_kind(request))
        async for message in image_messages(image):
            yield message

    async def UploadImage(
        self,
        request_iterator: AsyncIterator[pb.UploadImageRequest],
        context: Context,
    ) -> pb.UploadImageResponse:
        """Receive a large photo in parts."""
        settings = self._settings
        digest, expires_at = await receive(
            request_iterator,
            self._uploads,
            current_caller(),
            settings.max_image_bytes,
            settings.upload_timeout_s,
        )
        return pb.UploadImageResponse(upload=UPLOADS + digest, expire_time=timestamp(expires_at))

    def _response(self, kind: type[_EventResponse], job_id: str, event: Followed) -> _EventResponse | Deferred:
        """Make the response that carries an event; one with an image is made when it is sent."""
        if isinstance(event, StylizationEvent):
            return kind(event=event)

        async def make() -> Message:
            return kind(event=event_message(job_id, await self._catalog.complete(event)))

        if size := image_bytes(event.payload):
            return Deferred(size, make)
        return kind(event=event_message(job_id, event))

    async def _describe(self, job_id: str) -> Stylization:
        return stylization_message(
            await self._catalog.describe(job_id, current_caller().scope), self._settings.retention_s
        )

    async def _image(self, job_id: str, kind: int) -> JobImage:
        scope = current_caller().scope
        if kind == Stylization.IMAGE_KIND_CONTENT:
            return await self._catalog.content(job_id, scope)
        if kind == Stylization.IMAGE_KIND_PREVIEW:
            return await self._catalog.preview(job_id, scope)
        return await self._catalog.result(job_id, scope)

    def _call_ended(self, job: Job, _: object) -> None:
        self._intake.cancel(job, CancelReason.CALLER_LEFT)

    def _count(self, event: Followed) -> None:
        if isinstance(event, StylizationEvent):
            self._count_passed_on(event)
            return
        payload = event.payload
        match payload:
            case Progress():
                self._metrics.frame_sent("progress")
            case Preview():
                self._metrics.frame_sent("preview", image_bytes(payload))
            case Draft():
                self._metrics.frame_sent("draft", image_bytes(payload))
            case Chunk():
                self._metrics.frame_sent("chunk", image_bytes(payload))
            case Result():
                self._metrics.frame_sent("result", image_bytes(payload))
            case Gap(skipped_progress=progress, skipped_previews=previews):
                self._metrics.frames_skipped(progress, previews)

    def _count_passed_on(self, event: StylizationEvent) -> None:
        """Count a frame of another server; that one counts what its reader skipped."""
        if event.HasField("progress"):
            self._metrics.frame_sent("progress")
        elif event.HasField("preview"):
            self._metrics.frame_sent("preview", len(event.preview.image_data))


def _call_error(payload: Payload) -> ServiceError | None:
    """Return the error that a one-shot call ends with after an event; None if it does not."""
    match payload:
        case Failed(error):
            return ServiceError(error)
        case Cancelled(reason=CancelReason.DRAINING):
            return draining_error()
        case Cancelled():
            return cancelled_error()
        case _:
            return None
