"""A relay in front of a server: another address for its callers, and connections that deliver only so much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

ANOTHER_ADDRESS = "127.0.0.2"


@asynccontextmanager
async def relayed(
    target: str, source: str = ANOTHER_ADDRESS, most_bytes: int | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel whose server sees calls from another address of this machine.

    After `most_bytes` nothing more reaches the server, and the connection stays open.
    """
    host, _, port = target.rpartition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data if left is None else data[:left])
                await writer.drain()
                left = None if left is None else max(0, left - len(data))
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        for task in (
            asyncio.create_task(forward(reader, here, most_bytes)),
            asyncio.create_task(forward(there, writer, None)),
        ):
            tasks.add(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield channel
    listener.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
