"""`clipstyler.v1.StylizationService`: a job for the time of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from clipstyler.v1.stylization_service_pb2 import StylizeRequest, StylizeResponse
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceServicer
from clipstyler_server.engine.base import Previewed, Progressed
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.jobs.events import Cancelled, Chunk, Failed, Gap, Payload, Succeeded
from clipstyler_server.jobs.model import Job
from clipstyler_server.services import to_proto
from clipstyler_server.services.admission import Admission
from clipstyler_server.telemetry import Metrics

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class StylizationService(StylizationServiceServicer):
    """Streams what happens to a job to the one who asked for it.

    Parameters
    ----------
    admission
        Makes a job of a request, or refuses it.
    dispatcher
        Told when the caller is gone.
    metrics
        Where frames are counted.
    """

    def __init__(self, admission: Admission, dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._admission = admission
        self._dispatcher = dispatcher
        self._metrics = metrics

    async def Stylize(  # noqa: N802 - the contract's name
        self, request: StylizeRequest, context: ServicerContext[StylizeRequest, StylizeResponse]
    ) -> AsyncIterator[StylizeResponse]:
        """Stylise one photo while the call lasts."""
        job = await self._admission.admit(request, context.time_remaining())
        # However the call ends (cancel, deadline, a connection that broke), its job does not outlive it.
        context.add_done_callback(partial(self._call_ended, job))  # type: ignore[arg-type]
        async for event in job.mailbox.events():
            yield StylizeResponse(event=to_proto.event(job.id, event))
            self._count(event.payload)
            if isinstance(event.payload, Failed | Cancelled):
                raise event.payload.error

    def _call_ended(self, job: Job, _: object) -> None:
        self._dispatcher.abandon(job)

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
            case Gap(progress, previews):
                self._metrics.frames_skipped(progress, previews)
