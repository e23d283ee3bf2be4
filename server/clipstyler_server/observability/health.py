"""Whether each service can do its work, in one place: gRPC health and /readyz.

A full queue is not unhealthy: health looks at workers and at draining, never at the queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipstyler_server.observability.changes import ChangeSignal

SERVER = ""
"""Name under which gRPC's health service reports the server as a whole."""

Problems = Callable[[], list[str]]
"""Returns why something cannot do its work; empty if it can."""


class Health:
    """Publishes the health of services.

    Parameters
    ----------
    checks
        By full service name, `SERVER` for the whole server.
    changes
        Notified when a check may have changed.
    publish
        Receives the name of a service and its status.
    lost
        Returns what does not work though the server does.

    Attributes
    ----------
    lost
        As given.
    has_started
        Whether the server was ready once.
    """

    def __init__(
        self,
        checks: Mapping[str, Problems],
        changes: ChangeSignal,
        publish: Callable[[str, Any], Awaitable[None]],
        lost: Problems,
    ) -> None:
        self.lost = lost
        self._publish = publish
        self._checks = checks
        self._changes = changes
        self.has_started = False

    def problems(self) -> list[str]:
        """Return why the server cannot take work; empty if it can."""
        return self._checks[SERVER]()

    async def publish_health(self) -> None:
        """Publish every change, until cancelled. A slow watcher delays nothing else."""
        while True:
            for service, problems in self._checks.items():
                await self._publish(service, _status(problems()))
            await self._changes.wait()


def _status(problems: list[str]) -> Any:
    return HealthCheckResponse.NOT_SERVING if problems else HealthCheckResponse.SERVING
