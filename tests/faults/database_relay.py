"""A relay in front of PostgreSQL's socket, which can be cut: what is sent then is lost in silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_SOCKET = ".s.PGSQL.5432"


class DatabaseRelay:
    """Another address of a database.

    Parameters
    ----------
    url
        Of the database, with the directory of its socket.
    folder
        Where the relay's socket is put.

    Attributes
    ----------
    url
        Of the database by way of the relay.
    """

    def __init__(self, url: str, folder: Path) -> None:
        (directory,) = parse_qs(urlsplit(url).query)["host"]
        self._there = Path(directory) / _SOCKET
        self._here = folder / _SOCKET
        self.url = url.replace(directory, str(folder))
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Pass nothing on; connections stay open."""
        self._open.clear()

    def heal(self) -> None:
        """Pass everything on again, after breaking the connections of before."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self._open.set()

    async def start(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, self._here)

    async def close(self) -> None:
        self.heal()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        there, back = await asyncio.open_unix_connection(self._there)
        self._writers |= {writer, back}
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._forward(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        target.close()


@asynccontextmanager
async def database_relay(url: str, folder: Path) -> AsyncIterator[DatabaseRelay]:
    """Run a relay."""
    relay = DatabaseRelay(url, folder)
    server = await relay.start()
    try:
        yield relay
    finally:
        server.close()
        await relay.close()
