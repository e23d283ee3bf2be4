"""Connections that are bounded from the moment they arrive, also those whose TLS handshake does not end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable


class BoundedConnections:
    """Accepts connections for a protocol; a new one takes the place of the oldest, which may be slow, idle or gone.

    Without a bound, callers that send nothing would take all descriptors of the server.

    Parameters
    ----------
    make_protocol
        Makes what serves a connection.
    most
        Number of connections at the same time.
    context
        Of TLS; None to serve without.
    handshake_s
        Seconds that a handshake may take.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        most: int,
        context: ssl.SSLContext | None,
        handshake_s: float,
    ) -> None:
        self._make_protocol = make_protocol
        self._most = most
        self._context = context
        self._handshake_s = handshake_s
        self._transports: list[asyncio.Transport] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    def accept(self) -> asyncio.Protocol:
        """Return what begins a connection: the factory of a listener without TLS."""
        return _Arrival(self._begin)

    def close(self) -> None:
        """End all connections."""
        for transport in self._transports:
            transport.abort()

    def _begin(self, transport: asyncio.Transport) -> None:
        open_ones = [each for each in self._transports if not each.is_closing()]
        excess = max(0, len(open_ones) - self._most + 1)
        for oldest in open_ones[:excess]:
            oldest.abort()  # `close` would wait until it has read
        self._transports = [*open_ones[excess:], transport]
        if self._context is None:
            _serve(self._make_protocol(), transport)
            return
        transport.pause_reading()  # until there is a reader for its first bytes
        task = asyncio.create_task(self._shake_hands(transport, self._context))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop, first = asyncio.get_running_loop(), _First()
        with contextlib.suppress(OSError):  # it is no TLS, takes too long, or the connection is gone
            secure = await loop.start_tls(
                transport, first, context, server_side=True, ssl_handshake_timeout=self._handshake_s
            )
            if secure and not first.is_lost:
                protocol = self._make_protocol()
                _serve(protocol, secure)
                if first.received:
                    protocol.data_received(first.received)


class _First(asyncio.Protocol):
    """Keeps what comes in the moment after the handshake, before the connection is served."""

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.is_lost = True  # the connection is then closed

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_lost = True


class _Arrival(asyncio.Protocol):
    """A connection that has only arrived."""

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._begin(transport)


def _serve(protocol: asyncio.Protocol, transport: asyncio.Transport) -> None:
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
