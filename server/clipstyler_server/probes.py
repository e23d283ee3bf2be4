"""Pages for machines over HTTP: /metrics, /livez and /readyz. None of them waits for the queue or the worker."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from clipstyler_server.readiness import Readiness
from clipstyler_server.telemetry import Metrics


class Probes:
    """The HTTP server of these pages.

    Parameters
    ----------
    metrics
        Shown at /metrics.
    readiness
        Shown at /readyz.
    """

    def __init__(self, metrics: Metrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises
        ------
        OSError
            The port is taken.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/livez", self._show_life),
                web.get("/readyz", self._show_readiness),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner:
            await self._runner.cleanup()

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _show_life(self, _request: web.Request) -> web.Response:
        """Answering at all is the proof: the event loop turns."""
        return web.json_response({"alive": True})

    async def _show_readiness(self, _request: web.Request) -> web.Response:
        problems = self._readiness.problems()
        return web.json_response(
            {"ready": not problems, "problems": problems, "worker": self._readiness.engine.state},
            status=503 if problems else 200,
        )
