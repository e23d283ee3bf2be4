"""Connections to PostgreSQL: one whose network is cut in silence ends soon, also if it only waits for an answer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from clipstyler_server.storage.database import Database
from clipstyler_server.storage.notifications import listen

from tests.service.databases import postgres

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="needs the keepalive options of Linux")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database by TCP: the server of the tests listens to a socket in a directory only."""
    with postgres() as create:
        address = urlsplit(create())
        (directory,) = parse_qs(address.query)["host"]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_unix_connection(Path(directory) / ".s.PGSQL.5432")
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as relay:
            port = relay.sockets[0].getsockname()[1]
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}{address.path}"


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def silence_s(descriptor: int) -> int:
    """How long a connection that waits stands silence."""
    with socket.socket(fileno=os.dup(descriptor)) as there:
        assert there.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, every, times = (
            there.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    return idle + every * times


async def test_the_connections_of_the_storage_notice_silence(url):
    database = Database(url)

    def look() -> int:
        with database.transaction() as connection:
            return silence_s(connection.connection.driver_connection.fileno())

    assert await asyncio.to_thread(look) <= 30
    await asyncio.to_thread(database.close)


async def test_the_connection_that_listens_notices_silence(url, monkeypatch):
    opened, connect = [], psycopg.AsyncConnection.connect

    async def noted(*arguments, **options):
        opened.append(await connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", noted)
    heard = asyncio.Event()
    listening = asyncio.create_task(listen(url, heard.set))
    await asyncio.wait_for(heard.wait(), 20)
    assert silence_s(opened[0].fileno()) <= 30
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
