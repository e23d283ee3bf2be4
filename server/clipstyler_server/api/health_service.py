"""`grpc.health.v1.Health`: what gRPC's package has, and `List`, which it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

from clipstyler_server.errors import Reason, error

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    Context = ServicerContext[Any, Any]


# Newer than its stubs.
pb: Any = health_pb2


class HealthService(health.aio.HealthServicer):
    """Answers with the statuses that were set."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses: dict[str, Any] = {}

    async def set(self, service: str, status: Any) -> None:
        """Set the status of a service and report it to those who watch it."""
        self._statuses[service] = status
        await super().set(service, status)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Any:
        """Return the status of a service."""
        if request.service not in self._statuses:
            raise error(Reason.UNKNOWN_SERVICE, "this server has no such service: `List` names those that it has")
        return pb.HealthCheckResponse(status=self._statuses[request.service])

    async def List(self, request: Any, context: Context) -> Any:
        """Return the status of every service."""
        statuses = {name: pb.HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return pb.HealthListResponse(statuses=statuses)
