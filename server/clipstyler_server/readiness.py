"""Whether the server can take work, in one place: gRPC health, /readyz and nobody's guess.

A full queue is not unhealthy: readiness looks at the worker and at draining, never at the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipstyler_server.engine.base import Engine, WorkerState
from clipstyler_server.jobs.dispatcher import Dispatcher


class Readiness:
    """Watches the engine and the dispatcher on behalf of the health service.

    Parameters
    ----------
    dispatcher
        Knows of draining, and of the engine.
    services
        Full names of the services whose health is told; the empty name is the whole server.
    """

    def __init__(self, dispatcher: Dispatcher, services: Sequence[str]) -> None:
        self.health = health.aio.HealthServicer()
        self._dispatcher = dispatcher
        self._services = ("", *services)
        self._changed = asyncio.Event()

    @property
    def engine(self) -> Engine:
        """The engine that is watched."""
        return self._dispatcher.engine

    def problems(self) -> list[str]:
        """Say why the server cannot take work; empty when it can."""
        found = []
        if self._dispatcher.draining:
            found.append("the server is shutting down")
        if self.engine.state is not WorkerState.READY:
            found.append(f"the worker {self.engine.state.in_words}")
        return found

    def changed(self) -> None:
        """Note that the state may have changed; the health service follows."""
        self._changed.set()

    async def keep_told(self) -> None:
        """Tell the health service of every change, until cancelled. A slow health watcher delays nothing else."""
        while True:
            self._changed.clear()
            await self._tell()
            await self._changed.wait()

    async def _tell(self) -> None:
        status = HealthCheckResponse.NOT_SERVING if self.problems() else HealthCheckResponse.SERVING
        for service in self._services:
            await self.health.set(service, status)
