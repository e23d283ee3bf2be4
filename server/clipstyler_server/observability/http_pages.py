"""HTTP pages for monitoring: /metrics, and Kubernetes' three probes. None of them waits for the queue or a worker."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from clipstyler_server.identity.authenticator import NotAuthenticatedError
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.identity.roles import Role
from clipstyler_server.observability.bounded_connections import BoundedConnections
from clipstyler_server.observability.health import Health
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.shared_exposition import SharedExposition

MOST_CONNECTIONS = 128
"""Open at once; a new one takes the place of the oldest."""
_HANDSHAKE_S = 10.0  # of TLS
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class HttpPages:
    """The HTTP server for these pages.

    Parameters
    ----------
    metrics
        Served at /metrics.
    health
        Served at /startupz and /readyz.
    identity
        Knows tokens, and has the certificate.
    needs_token
        Whether metrics, and why the server is not ready, are for operators and probes only.
    """

    def __init__(self, metrics: Metrics, health: Health, identity: IdentityFiles, needs_token: bool) -> None:
        self._exposition = SharedExposition(metrics)
        self._health = health
        self._identity = identity
        self._needs_token = needs_token
        self._runner: web.AppRunner | None = None
        self._connections: BoundedConnections | None = None
        self._listener: asyncio.Server | None = None

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
                web.get("/startupz", self._show_start),
                web.get("/livez", self._show_life),
                web.get("/readyz", self._show_readiness),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, logger=_logger(), shutdown_timeout=1)
        await self._runner.setup()
        assert self._runner.server is not None
        context = self._identity.context()
        self._connections = BoundedConnections(self._runner.server, MOST_CONNECTIONS, context, _HANDSHAKE_S)
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._connections.accept, host, port)
        except OSError as error:
            raise OSError(
                f"cannot listen on {join_address(host, port)}: is it in use? Choose another address or port, "
                f"0 for a free one ({error.strerror})"
            ) from error
        return join_address(host, self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._listener:
            self._listener.close()
        if self._runner:
            await self._runner.cleanup()
        if self._connections:
            self._connections.close()

    async def _show_metrics(self, request: web.Request) -> web.Response:
        if not self._may_read(request):
            return web.Response(status=401, text="send the token of a probe or operator\n", headers=_CHALLENGE)
        body, content_type = await self._exposition.of_now(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _show_start(self, _request: web.Request) -> web.Response:
        """Whether the server was ready once; until then loading takes as long as it takes."""
        has_started = self._health.has_started
        return web.json_response({"started": has_started}, status=200 if has_started else 503)

    async def _show_life(self, _request: web.Request) -> web.Response:
        """Answering proves that the event loop runs."""
        return web.json_response({"alive": True})

    async def _show_readiness(self, request: web.Request) -> web.Response:
        """Whoever balances calls needs no token to learn whether there is any sense in it, and none of the reasons."""
        problems = self._health.problems()
        reasons = {"problems": problems, "lost": self._health.lost()} if self._may_read(request) else {}
        return web.json_response({"ready": not problems, **reasons}, status=503 if problems else 200)

    def _may_read(self, request: web.Request) -> bool:
        if not self._needs_token:
            return True
        authenticator = self._identity.authenticator
        try:
            principal = authenticator.identify(_authorization(request)) if authenticator else None
        except NotAuthenticatedError:
            return False
        return principal is not None and principal.role in {Role.OPERATOR, Role.PROBE}


def _authorization(request: web.Request) -> str | None:
    """Return the header; what comes twice is no token, as in calls."""
    found = request.headers.getall("Authorization", [])
    if not found:
        return None
    return found[0] if len(found) == 1 else ""


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
