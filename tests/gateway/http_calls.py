"""Calls over plain HTTP, as a browser or curl makes them: gRPC-Web, Connect and JSON."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
from google.protobuf.message import Message
from google.rpc import status_pb2

_TRAILERS = 0x80
STYLIZATION, SERVER = "clipstyler.v1.StylizationService", "clipstyler.v1.ServerService"


@dataclass
class WebResponse:
    """What a gRPC-Web call gave: its messages and its trailers."""

    headers: dict[str, str] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return self.trailers.get("grpc-status") or self.headers["grpc-status"]

    @property
    def details(self) -> status_pb2.Status:
        encoded = self.trailers.get("grpc-status-details-bin") or self.headers["grpc-status-details-bin"]
        return status_pb2.Status.FromString(base64.b64decode(encoded + "=="))


def frame(message: Message) -> bytes:
    """A message as it travels: uncompressed, after its length."""
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


async def frames(body: aiohttp.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    """Flags and bytes of the frames of a response, as they come."""
    while not body.at_eof():
        head = await body.read(5)
        if not head:
            return
        if len(head) < 5:
            head += await body.readexactly(5 - len(head))
        flags, length = struct.unpack(">BI", head)
        yield flags, await body.readexactly(length)


async def grpc_web(
    session: aiohttp.ClientSession,
    url: str,
    method: str,
    request: Message,
    received: Callable[[bytes], None] = lambda _: None,
    **headers: str,
) -> WebResponse:
    """Make a gRPC-Web call and read it to its end; `received` gets each message as it comes."""
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"} | headers
    async with session.post(f"{url}/{method}", data=frame(request), headers=sent) as response:
        result = WebResponse(headers={name.lower(): value for name, value in response.headers.items()})
        async for flags, data in frames(response.content):
            if flags & _TRAILERS:
                lines = (line.split(":", 1) for line in data.decode().split("\r\n") if line)
                result.trailers = {name.strip().lower(): value.strip() for name, value in lines}
            else:
                result.messages.append(data)
                received(data)
        return result


async def last_line(session: aiohttp.ClientSession, url: str, body: object) -> dict:
    """Make a call with JSON, and return the last line of its response."""
    async with session.post(url, json=body) as got:
        return json.loads([line async for line in got.content][-1])
