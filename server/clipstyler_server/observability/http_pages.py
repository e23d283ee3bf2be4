"""HTTP pages for monitoring: /metrics, /livez and /readyz. None of them waits for the queue or a worker."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CONTENT_TYPE_LATEST

from clipstyler_server.observability.health import Health
from clipstyler_server.observability.metrics import Metrics


class HttpPages:
    """The HTTP server for these pages.

    Parameters
    ----------
    metrics
        Served at /metrics.
    health
        Served at /readyz.
    """

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen on a port, 0 for a free one; returns the address.

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
        self._runner = web.AppRunner(app, access_log=None, logger=_logger(), shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise OSError(
                f"cannot listen on {join_address(host, port)}: is it in use? Choose another address or port, "
                f"0 for a free one ({error.strerror})"
            ) from error
        return join_address(host, self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _show_life(self, _request: web.Request) -> web.Response:
        """Answering proves that the event loop runs."""
        return web.json_response({"alive": True})

    async def _show_readiness(self, _request: web.Request) -> web.Response:
        problems = self._health.problems()
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)


def _logger() -> logging.Logger:
    """A logger for what goes wrong in this server; requests that are no HTTP are only answered."""
    logger = logging.getLogger("clipstyler.pages")
    logger.addFilter(_is_our_fault)
    return logger


def _is_our_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def join_address(host: str, port: int) -> str:
    """Join a host and a port; IPv6 addresses are bracketed."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
