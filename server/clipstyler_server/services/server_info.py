"""`clipstyler.v1.ServerService`: what this server is. Answers also while the worker starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from clipstyler import __version__
from clipstyler.config import PRESETS
from clipstyler.evaluation.zero_shot import MAX_LABELS
from clipstyler.v1 import server_service_pb2
from clipstyler.v1.server_service_pb2_grpc import ServerServiceServicer
from clipstyler_server.engine.base import Encoders, WorkerState
from clipstyler_server.engine.evaluator_link import EvaluatorLink
from clipstyler_server.jobs.dispatcher import Dispatcher
from clipstyler_server.services import from_proto, to_proto
from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

_STATES = {
    WorkerState.STARTING: server_service_pb2.WORKER_STATE_STARTING,
    WorkerState.READY: server_service_pb2.WORKER_STATE_IDLE,
    WorkerState.CRASHED: server_service_pb2.WORKER_STATE_CRASHED,
}


class ServerInfoService(ServerServiceServicer):
    """Describes the server.

    Parameters
    ----------
    settings
        The limits.
    dispatcher
        Knows the queue and the worker.
    evaluator
        None where the server has none.
    """

    def __init__(self, settings: Settings, dispatcher: Dispatcher, evaluator: EvaluatorLink | None) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._evaluator = evaluator
        self._start = datetime.now(UTC)

    async def GetServerInfo(  # noqa: N802 - the contract's name
        self,
        request: server_service_pb2.GetServerInfoRequest,  # noqa: ARG002 - empty
        context: ServicerContext[  # noqa: ARG002 - not needed
            server_service_pb2.GetServerInfoRequest, server_service_pb2.GetServerInfoResponse
        ],
    ) -> server_service_pb2.GetServerInfoResponse:
        """Tell version, limits, models, devices and the queue."""
        info = self._dispatcher.engine.info
        response = server_service_pb2.GetServerInfoResponse(
            version=__version__,
            limits=self._limits(),
            encoders=[_encoders(encoders) for encoders in info.encoders] if info else [],
            presets=_presets(),
            workers=[self._worker()],
            queue=server_service_pb2.Queue(
                waiting=len(self._dispatcher.queue),
                running=int(self._dispatcher.running is not None),
                capacity=self._dispatcher.queue.capacity,
            ),
        )
        if self._evaluator:
            response.evaluator.CopyFrom(_evaluator(self._evaluator))
        response.start_time.FromDatetime(self._start)
        return response

    def _limits(self) -> server_service_pb2.Limits:
        settings = self._settings
        return server_service_pb2.Limits(
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_text_characters=settings.max_text_characters,
            max_size=settings.max_size,
            max_steps=settings.max_steps,
            max_patches=settings.max_patches,
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_preview_size=settings.max_preview_size,
            max_batch=settings.max_batch,
            max_labels=MAX_LABELS,
        )

    def _worker(self) -> server_service_pb2.Worker:
        engine = self._dispatcher.engine
        busy = engine.state is WorkerState.READY and self._dispatcher.running is not None
        worker = server_service_pb2.Worker(
            state=server_service_pb2.WORKER_STATE_BUSY if busy else _STATES[engine.state],
            restarts=engine.restarts,
        )
        if engine.info:
            worker.device = engine.info.device
            worker.provider = engine.info.provider
            worker.threads = engine.info.threads
        return worker


def _evaluator(evaluator: EvaluatorLink) -> server_service_pb2.Evaluator:
    providers = [
        server_service_pb2.ActiveProvider(
            encoders=facts.name, backend=facts.backend, precision=facts.precision, skipped=facts.skipped
        )
        for facts in evaluator.facts.values()
    ]
    return server_service_pb2.Evaluator(
        state=_STATES[evaluator.state], restarts=evaluator.restarts, providers=providers
    )


def _encoders(encoders: Encoders) -> server_service_pb2.Encoders:
    return server_service_pb2.Encoders(
        name=encoders.name,
        description=encoders.description,
        models=to_proto.models(encoders.models),
        calibration=to_proto.calibration(encoders.calibration),
        source_text=encoders.calibration.source_text,
    )


def _presets() -> list[server_service_pb2.PresetInfo]:
    return [
        server_service_pb2.PresetInfo(preset=number, **PRESETS[preset]._asdict())  # type: ignore[arg-type]
        for number, preset in from_proto.PRESETS.items()
    ]
