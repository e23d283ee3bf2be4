"""`clipstyler.v1.ServerService`: describes this server. Answers also while the worker starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clipstyler import __version__
from clipstyler.evaluation.zero_shot import MAX_LABELS
from clipstyler.v1 import server_service_pb2 as pb
from clipstyler.v1.server_service_pb2_grpc import ServerServiceServicer
from clipstyler_server.api.bounds import CallBounds
from clipstyler_server.api.callers import current_caller
from clipstyler_server.api.codec.server_info import (
    caller_message,
    encoder_set_message,
    evaluator_message,
    preset_messages,
    worker_message,
)
from clipstyler_server.errors import Reason, error
from clipstyler_server.identity.rates import burst_of
from clipstyler_server.identity.roles import Role
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.observability import logs
from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings
from clipstyler_server.sharing import Caller
from clipstyler_server.storage.room import Room
from clipstyler_server.workers.evaluator.client import EvaluatorClient

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class ServerService(ServerServiceServicer):
    """Describes the server.

    Parameters
    ----------
    settings
        Limits.
    scheduler, backlog
        Has the engine; what waits.
    evaluator
        None if the server runs without one.
    bounds, room
        What one caller may take.
    drain
        Begins to drain the server.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        backlog: JobQueue[Any],
        evaluator: EvaluatorClient | None,
        bounds: CallBounds,
        room: Room,
        drain: Callable[[], None],
    ) -> None:
        self._drain = drain
        self._settings = settings
        self._bounds = bounds
        self._room = room
        self._scheduler = scheduler
        self._backlog = backlog
        self._evaluator = evaluator
        self._start = datetime.now(UTC)

    async def GetServerInfo(
        self,
        request: pb.GetServerInfoRequest,
        context: ServicerContext[pb.GetServerInfoRequest, pb.GetServerInfoResponse],
    ) -> pb.GetServerInfoResponse:
        """Return version, limits, encoder sets, devices and the queue, with what holds for this caller."""
        caller = current_caller()
        devices, queue = self._scheduler.devices, self._backlog
        info = pb.ServerInfo(
            version=__version__,
            limits=self._limits(caller),
            encoder_sets=[encoder_set_message(encoders) for encoders in devices.info.encoder_sets]
            if devices.info
            else [],
            presets=preset_messages(),
            workers=[worker_message(device) for device in devices.statuses()],
            queue=pb.ServerInfo.Queue(
                waiting_count=len(queue),
                running_count=self._scheduler.running_count(),
                capacity=queue.capacity,
                capacity_per_caller=queue.capacity_of(caller.limits.queue_share),
            ),
            caller=caller_message(caller.principal),
        )
        if self._evaluator:
            info.evaluator.CopyFrom(evaluator_message(self._evaluator))
        info.start_time.FromDatetime(self._start)
        return pb.GetServerInfoResponse(server_info=info)

    async def DrainServer(
        self,
        request: pb.DrainServerRequest,
        context: ServicerContext[pb.DrainServerRequest, pb.DrainServerResponse],
    ) -> pb.DrainServerResponse:
        """Drain the server. Without credentials nobody may: whoever reaches a loopback port could end it."""
        caller = current_caller()
        if not caller.tenant or caller.principal.role is not Role.OPERATOR:
            raise error(Reason.PERMISSION_DENIED, "draining needs the credentials of an {role}", role=Role.OPERATOR)
        logs.get_logger().info("drain_requested", tenant=caller.tenant, token=caller.principal.token_id)
        self._drain()
        return pb.DrainServerResponse()

    def _limits(self, caller: Caller) -> pb.ServerInfo.Limits:
        settings, own = self._settings, caller.limits
        return pb.ServerInfo.Limits(
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_text_characters=settings.max_text_characters,
            max_size=min(settings.max_size, own.max_size or settings.max_size),
            max_output_size=own.output_limit(settings.max_output_size),
            max_steps=min(settings.max_steps, own.max_steps or settings.max_steps),
            max_patches=settings.max_patches,
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_preview_size=settings.max_preview_size,
            max_batch=settings.max_batch,
            max_labels=MAX_LABELS,
            max_job_memory_bytes=settings.memory_bytes_per_job,
            max_calls_per_caller=self._bounds.calls.most_of(own.max_calls),
            max_stored_bytes_per_caller=self._room.max_bytes_of(caller),
            max_calls_per_minute=own.calls_per_minute or 0,
            max_call_burst=burst_of(own),
        )
