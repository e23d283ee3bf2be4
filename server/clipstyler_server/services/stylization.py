"""`clipstyler.v1.StylizationService`: jobs, and the one-shot call, which is a job for the time of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceServicer
from clipstyler_server.engine.base import Previewed, Progressed
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.jobs.events import Cancelled, CancelReason, Chunk, Failed, Gap, Payload, Succeeded
from clipstyler_server.jobs.failures import draining_error
from clipstyler_server.jobs.model import Job
from clipstyler_server.services import from_proto, to_proto
from clipstyler_server.services.admission import Admission, Caller
from clipstyler_server.services.archive import Archive
from clipstyler_server.services.uploads import receive
from clipstyler_server.settings import Settings
from clipstyler_server.telemetry import Metrics

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]


class StylizationService(StylizationServiceServicer):
    """Creates, tells, streams, cancels and deletes jobs.

    Parameters
    ----------
    settings
        Heartbeats and limits.
    admission
        Makes a job of a request, or refuses it.
    dispatcher
        Has the jobs that are not over.
    archive
        Has all of them.
    metrics
        Where frames are counted.
    """

    def __init__(
        self, settings: Settings, admission: Admission, dispatcher: Dispatcher, archive: Archive, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._dispatcher = dispatcher
        self._archive = archive
        self._metrics = metrics

    async def Stylize(  # noqa: N802 - the contract's name
        self, request: pb.StylizeRequest, context: Context
    ) -> AsyncIterator[pb.StylizeResponse]:
        """Stylize one photo while the call lasts."""
        remaining_s = None if request.detach else context.time_remaining()
        caller = Caller(from_proto.read_client(context), remaining_s, one_shot=not request.detach)
        job = await self._admission.admit(from_proto.as_job(request), caller)
        if job.one_shot:
            # However the call ends (cancel, deadline, a connection that broke), its job does not outlive it.
            context.add_done_callback(partial(self._call_ended, job))  # type: ignore[arg-type]
        mailbox = job.watch(self._settings.heartbeat_s)
        try:
            async for event in mailbox.events():
                yield pb.StylizeResponse(event=to_proto.event(job.id, event))
                self._count(event.payload)
                if isinstance(event.payload, Failed | Cancelled):
                    raise event.payload.error
        finally:
            job.leave(mailbox)

    async def CreateStylization(  # noqa: N802 - the contract's name
        self, request: pb.CreateStylizationRequest, context: Context
    ) -> pb.CreateStylizationResponse:
        """Accept a job, once for each request id."""
        caller = Caller(from_proto.read_client(context), from_proto.read_timeout(request), one_shot=False)
        job_id = await self._archive.once(request, partial(self._admission.admit, request, caller))
        return pb.CreateStylizationResponse(stylization=await self._archive.describe(job_id))

    async def GetStylization(  # noqa: N802 - the contract's name
        self,
        request: pb.GetStylizationRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> pb.GetStylizationResponse:
        """Tell how a job is."""
        return pb.GetStylizationResponse(stylization=await self._archive.describe(from_proto.read_name(request.name)))

    async def ListStylizations(  # noqa: N802 - the contract's name
        self,
        request: pb.ListStylizationsRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> pb.ListStylizationsResponse:
        """List jobs, newest first."""
        return await self._archive.page(from_proto.read_page(request))

    async def WatchStylization(  # noqa: N802 - the contract's name
        self,
        request: pb.WatchStylizationRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> AsyncIterator[pb.WatchStylizationResponse]:
        """Stream the events of a job."""
        job_id = from_proto.read_name(request.name)
        while (job := self._dispatcher.jobs.get(job_id)) is None:
            if ends := await self._archive.end(job_id, request.after_sequence):
                for message in ends:
                    yield pb.WatchStylizationResponse(event=message)
                return
            if self._dispatcher.draining:
                raise draining_error()
            # Stored as waiting and not taken up yet: the server has just started.
            yield pb.WatchStylizationResponse(event=await self._archive.nap(job_id, request.after_sequence))
        mailbox = job.watch(self._settings.heartbeat_s, request.after_sequence)
        try:
            async for event in mailbox.events():
                yield pb.WatchStylizationResponse(event=to_proto.event(job_id, event))
                self._count(event.payload)
        finally:
            job.leave(mailbox)

    async def CancelStylization(  # noqa: N802 - the contract's name
        self,
        request: pb.CancelStylizationRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> pb.CancelStylizationResponse:
        """Stop a job."""
        job_id = from_proto.read_name(request.name)
        await self._archive.cancel(job_id)
        return pb.CancelStylizationResponse(stylization=await self._archive.describe(job_id))

    async def DeleteStylization(  # noqa: N802 - the contract's name
        self,
        request: pb.DeleteStylizationRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> pb.DeleteStylizationResponse:
        """Delete a job that is over, and its images."""
        await self._archive.delete(from_proto.read_name(request.name))
        return pb.DeleteStylizationResponse()

    async def GetStylizationImage(  # noqa: N802 - the contract's name
        self,
        request: pb.GetStylizationImageRequest,
        context: Context,  # noqa: ARG002 - not needed
    ) -> AsyncIterator[pb.GetStylizationImageResponse]:
        """Stream an image of a job."""
        image = await self._archive.image(from_proto.read_name(request.name), from_proto.read_image_kind(request))
        for part in to_proto.image_parts(image):
            yield part

    async def UploadImage(  # noqa: N802 - the contract's name
        self,
        request_iterator: AsyncIterator[pb.UploadImageRequest],
        context: Context,  # noqa: ARG002 - not needed
    ) -> pb.UploadImageResponse:
        """Take a large photo in pieces."""
        photo = await receive(request_iterator, self._settings.max_image_bytes)
        return await self._archive.keep_upload(photo)

    def _call_ended(self, job: Job, _: object) -> None:
        self._dispatcher.cancel(job, CancelReason.CALLER_LEFT)

    def _count(self, payload: Payload) -> None:
        match payload:
            case Progressed():
                self._metrics.frame_sent("progress")
            case Previewed(image=image):
                self._metrics.frame_sent("preview", len(image.data))
            case Chunk(data=data):
                self._metrics.frame_sent("chunk", len(data))
            case Succeeded(finished=finished, in_chunks=in_chunks):
                self._metrics.frame_sent("result", 0 if in_chunks else len(finished.image.data))
            case Gap(skipped_progress=progress, skipped_previews=previews):
                self._metrics.frames_skipped(progress, previews)
