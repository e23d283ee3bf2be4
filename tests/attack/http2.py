"""Calls as raw HTTP/2 frames, for what no gRPC client would send.

No table of headers is kept on either side, so that answers can be read without a decoder: gRPC's names and values then
arrive as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import grpc

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_STREAM = 1
_TRAILERS = b"\0\2te\x08trailers"  # an encoded header that gRPC needs
# No header table; gRPC's own setting that lets binary values come as they are.
_SETTINGS_SENT = ((1, 0), (0xFE03, 1))
_STATUS = re.compile(rb"grpc-status(?:\x01(\d)|\x02(\d\d))")


@dataclass(frozen=True)
class Answer:
    """How the server ended a call.

    Attributes
    ----------
    code
        gRPC status; None if the stream was reset or the connection closed.
    name
        Of the status, or of what ended the call.
    is_mapped
        Whether the trailers hold ErrorInfo of our domain.
    """

    code: int | None
    name: str
    is_mapped: bool


def message(body: bytes) -> bytes:
    """Prefix a message as gRPC does."""
    return b"\0" + struct.pack(">I", len(body)) + body


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """Encode a frame."""
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body


def opening(path: str, authority: str, more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """Encode the preface, the settings and the headers of a call."""
    settings = b"".join(struct.pack(">HI", *pair) for pair in _SETTINGS_SENT)
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "content-type": "application/grpc",
    }
    encoded = (_literal(name.encode(), value.encode("latin-1")) for name, value in (headers | dict(more)).items())
    block = b"".join(encoded) + _TRAILERS
    return _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_HEADERS, _END_HEADERS, _STREAM, block)


def _literal(name: bytes, value: bytes) -> bytes:
    """Encode a header that enters no table; name and value are shorter than 127 bytes."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


async def call(
    address: str,
    path: str,
    body: bytes,
    timeout_s: float,
    *,
    ends: bool = True,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer | None:
    """Open a connection and a call, send bytes as the stream's data, and wait for the call's end.

    Parameters
    ----------
    address
        Host and port.
    path
        Of the method.
    body
        Everything that is sent; no data frame if it is empty and the call stays open.
    timeout_s
        How long to wait.
    ends
        Whether the client ends its side.
    headers
        Further ones; each character is a byte.

    Returns
    -------
    Answer | None
        None if the server did not end the call.
    """
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(opening(path, address, headers))
        if body or ends:
            writer.write(frame(_DATA, _END_STREAM if ends else 0, _STREAM, body))
        return await asyncio.wait_for(_read_end(reader, writer), timeout_s)
    except TimeoutError:
        return None
    finally:
        writer.close()


async def stay(address: str) -> None:
    """Open a connection without calls, and answer its pings until the server closes it."""
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(_PREFACE + frame(_SETTINGS, 0, 0))
        try:
            await _read_end(reader, writer)
        finally:
            writer.close()


async def _read_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    """Read frames until the stream ends; settings and pings are acknowledged."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(9)
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            body = await reader.readexactly(size)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                writer.write(frame(kind, _ACK, 0, body if kind == _PING else b""))
            if kind == _HEADERS and (status := _STATUS.search(body)):
                return _answer(int(status[1] or status[2]), body)
            if kind == _RESET:
                return Answer(None, f"RESET {int.from_bytes(body)}", is_mapped=False)
            if kind == _GOAWAY:
                return Answer(None, "GOAWAY", is_mapped=False)
    return Answer(None, "CLOSED", is_mapped=False)


def _answer(number: int, trailers: bytes) -> Answer:
    name = next(code.name for code in grpc.StatusCode if code.value[0] == number)
    return Answer(number, name, b"grpc-status-details-bin" in trailers and b"clipstyler.dev" in trailers)
