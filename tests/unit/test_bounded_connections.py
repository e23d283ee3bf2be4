"""Connections that are bounded while they arrive, on plain sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from clipstyler_server.observability.bounded_connections import BoundedConnections

from tests.service.certificates import Authority


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture
def authority() -> Authority:
    return Authority()


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    connections = BoundedConnections(Echo, 4, context, 10)
    listener = await asyncio.get_running_loop().create_server(connections.accept, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    connections.close()


async def echoed_with_the_handshake(port: int, context: ssl.SSLContext) -> bytes:
    """Send data together with the last bytes of the handshake; returns what comes back."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(received, sent, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    written = False
    while True:
        try:
            if not written:
                tls.do_handshake()
                tls.write(b"at once")
                written = True
            return tls.read(100)
        except ssl.SSLWantReadError:
            pass
        finally:
            writer.write(sent.read())
        received.write(await asyncio.wait_for(reader.read(2**16), 10))


async def test_what_comes_with_the_end_of_the_handshake_is_served(tmp_path: Path, authority: Authority) -> None:
    of_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    of_server.load_cert_chain(*authority.issue_server().write(tmp_path, "server"))
    async with listening(of_server) as port:
        of_client = ssl.create_default_context(cadata=authority.pem.decode())
        assert await echoed_with_the_handshake(port, of_client) == b"at once"


@pytest.mark.parametrize("with_tls", [False, True])
async def test_the_oldest_connection_makes_room(tmp_path: Path, authority: Authority, with_tls: bool) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if with_tls else None
    async with listening(context) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        for reader, _ in silent[:2]:
            assert await asyncio.wait_for(reader.read(1), 10) == b""
        assert not any(reader.at_eof() or reader.exception() for reader, _ in silent[2:])
        for _, writer in silent:
            writer.close()
