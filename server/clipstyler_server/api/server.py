"""The gRPC server: its options, the servicers added to it, and where it listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from clipstyler.v1 import (
    encoder_service_pb2,
    encoder_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    style_service_pb2,
    style_service_pb2_grpc,
    stylization_service_pb2,
    stylization_service_pb2_grpc,
)
from clipstyler_server.api.authentication import Gatekeeper
from clipstyler_server.api.bounds import CallBounds
from clipstyler_server.api.callers import Callers
from clipstyler_server.api.connections import connection_options
from clipstyler_server.api.credentials import server_credentials
from clipstyler_server.api.encoder_service import EncoderService
from clipstyler_server.api.following import Follower
from clipstyler_server.api.health_service import HealthService
from clipstyler_server.api.interceptors import RpcGuard
from clipstyler_server.api.open_calls import FAREWELL_S
from clipstyler_server.api.reflection_service import add_reflection
from clipstyler_server.api.server_service import ServerService
from clipstyler_server.api.style_service import StyleService
from clipstyler_server.api.stylization_service import StylizationService
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.jobs.admission import Admission
from clipstyler_server.jobs.catalog import Catalog
from clipstyler_server.jobs.directions import DirectionLookup
from clipstyler_server.jobs.intake import Intake
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.jobs.scheduler import Scheduler
from clipstyler_server.jobs.style_lane import StyleLane
from clipstyler_server.jobs.style_store import StyleStore
from clipstyler_server.jobs.upload_store import UploadStore
from clipstyler_server.observability.http_pages import join_address
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import Tracer
from clipstyler_server.settings import MAX_MESSAGE_BYTES, Settings
from clipstyler_server.storage.room import Room
from clipstyler_server.storage.storage import Storage
from clipstyler_server.workers.decoder.client import ImageDecoder
from clipstyler_server.workers.evaluator.client import EvaluatorClient

STYLIZATION_SERVICE: str = stylization_service_pb2.DESCRIPTOR.services_by_name["StylizationService"].full_name
SERVER_SERVICE: str = server_service_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name
ENCODER_SERVICE: str = encoder_service_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
STYLE_SERVICE: str = style_service_pb2.DESCRIPTOR.services_by_name["StyleService"].full_name
_PHOTO_METHODS = {
    STYLIZATION_SERVICE: ("Stylize", "CreateStylization", "UploadImage"),
    STYLE_SERVICE: ("CreateStyle", "UploadStyle", "ApplyStyle", "RenderStyle"),
    ENCODER_SERVICE: ("EncodeImage", "ClassifyImage", "EvaluateStylization"),
}
_WINDOW_BYTES = 64 * 1024


class ApiServer:
    """The contract's services, health and reflection on one port.

    Parameters
    ----------
    settings
        Limits of messages.
    metrics
        Counts calls.
    identity
        Whom it trusts, and its certificate.
    tracer
        Traces calls.
    peer_key
        Returns what other servers of the same database show; empty if there are none.

    Attributes
    ----------
    bounds
        Of all calls together.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        identity: IdentityFiles,
        tracer: Tracer,
        peer_key: Callable[[], str] = str,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._identity = identity
        self.bounds = CallBounds(settings)
        gatekeeper = Gatekeeper(identity, Callers(settings.trusted_proxies), peer_key)
        guard = RpcGuard(metrics, self.bounds, gatekeeper, _photo_methods(), tracer)
        self._calls = guard.open_calls
        self._server = grpc.aio.server(interceptors=[guard], options=_options(settings))
        services = (STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE, ENCODER_SERVICE, health.SERVICE_NAME)
        add_reflection(self._server, services)

    def add_stylization(
        self, admission: Admission, intake: Intake, catalog: Catalog, follower: Follower, uploads: UploadStore
    ) -> None:
        """Add StylizationService."""
        servicer = StylizationService(self._settings, admission, intake, catalog, follower, uploads, self._metrics)
        stylization_service_pb2_grpc.add_StylizationServiceServicer_to_server(servicer, self._server)

    def add_styles(
        self, styles: StyleStore, lane: StyleLane, admission: Admission, catalog: Catalog, storage: Storage
    ) -> None:
        """Add StyleService."""
        servicer = StyleService(self._settings, styles, lane, admission, catalog, storage)
        style_service_pb2_grpc.add_StyleServiceServicer_to_server(servicer, self._server)

    def add_server(
        self,
        scheduler: Scheduler,
        backlog: JobQueue[Any],
        evaluator: EvaluatorClient | None,
        room: Room,
        drain: Callable[[], None],
    ) -> None:
        """Add ServerService."""
        servicer = ServerService(self._settings, scheduler, backlog, evaluator, self.bounds, room, drain)
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(servicer, self._server)

    def add_encoders(self, evaluator: EvaluatorClient, decoder: ImageDecoder, directions: DirectionLookup) -> None:
        """Add EncoderService."""
        servicer = EncoderService(self._settings, evaluator, decoder, directions, self.bounds)
        encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, self._server)

    def add_health(self, servicer: HealthService) -> None:
        """Add gRPC's health service."""
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)

    def bind(self, host: str, port: int) -> str:
        """Bind a port, 0 for a free one, with TLS if there is a certificate; returns the address.

        Raises
        ------
        OSError
            The port is taken.
        """
        address, credentials = join_address(host, port), server_credentials(self._identity)
        try:
            bound = (
                self._server.add_secure_port(address, credentials)
                if credentials
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: is it in use? Choose another address or port, 0 for a free one"
            ) from error
        return join_address(host, bound)

    async def start(self) -> None:
        """Answer calls."""
        await self._server.start()

    async def stop(self, left_s: Callable[[], float]) -> None:
        """Let calls that are at work finish while time is left, end all others with DRAINING, and stop listening."""
        await self._calls.finish(left_s)
        self._calls.end()
        await self._server.stop(FAREWELL_S)


def _photo_methods() -> frozenset[str]:
    return frozenset(f"/{service}/{method}" for service, methods in _PHOTO_METHODS.items() for method in methods)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # Detects clients that vanished, and tolerates pings of clients that look for us.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # What has not been asked for yet stays with its sender, apart from so much.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        *connection_options(settings.max_calls),
    ]
