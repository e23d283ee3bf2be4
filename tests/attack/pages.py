"""Attacks on the HTTP pages for monitoring: requests that are none, endless ones, and far too many."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.attack.measure import Target
from tests.attack.methods import CALL_S
from tests.attack.outcomes import Tally, run_all

_PAGES = ("/livez", "/readyz", "/metrics")
_MOMENT_S = 0.5
_LINE_BYTES = 12  # "HTTP/1.1 200"
_ENDLESS_BYTES = 4 * 2**20
_BEGINNINGS = (
    b"GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"HEAD {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"POST {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"GET {page} HTTP/1.0\r\nAuthorization: Bearer x\r\nAccept-Encoding: gzip, br\r\nRange: bytes=0-\r\n\r\n",
    b"GET {page} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
)


async def mutated_http_requests(target: Target, tally: Tally) -> None:
    """Send requests to the pages with bytes changed, cut, repeated or added."""
    draw = target.chance("pages")
    requests = (_mutated(draw) for _ in range(target.scale(200, 10_000)))
    await run_all((_exchange(target, tally, [request], _MOMENT_S) for request in requests), at_once=128)


async def endless_http_requests(target: Target, tally: Tally) -> None:
    """Send addresses, headers and bodies that do not end."""
    chunk = b"400\r\n" + bytes(1024) + b"\r\n"
    endless = {
        b"GET /": b"x" * 1024,
        b"GET /livez HTTP/1.1\r\n": b"name: " + b"x" * 1016 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nname: ": b"x" * 1024,
        b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n": chunk,
        b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n": bytes(1024),
    }
    parts = [[start] + [part] * (_ENDLESS_BYTES // len(part)) for start, part in endless.items()]
    await run_all(_exchange(target, tally, parts[n % len(parts)]) for n in range(target.scale(20, 500)))


async def many_http_requests(target: Target, tally: Tally) -> None:
    """Ask for pages much more often than any monitor, many at once in one connection."""
    end = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    requests = [f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20 + end for page in _PAGES]
    await run_all(_exchange(target, tally, [requests[n % len(requests)]]) for n in range(target.scale(60, 1_000)))


def _mutated(draw: random.Random) -> bytes:
    request = bytearray(draw.choice(_BEGINNINGS).replace(b"{page}", draw.choice(_PAGES).encode()))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(request))
        match draw.randrange(4):
            case 0:
                request[at] = draw.randrange(256)
            case 1:
                request[at:at] = draw.randbytes(draw.randint(1, 20))
            case 2:
                del request[at : at + draw.randint(1, 20)]
            case _:
                request[at:at] = request[at : at + 40] * draw.randint(1, 50)
        if not request:
            break
    return bytes(request)


async def _exchange(target: Target, tally: Tally, parts: list[bytes], patience_s: float = CALL_S) -> None:
    """Send what a connection takes, and read to its end, or for a while: the server may wait for the rest."""
    tally.inputs += 1
    answer = b""
    try:
        async with asyncio.timeout(patience_s), _connection(target) as (reader, writer):
            for part in parts:
                writer.write(part)
                await writer.drain()
            answer = await reader.read(_LINE_BYTES)
            while await reader.read(2**16):
                pass
    except ConnectionError:
        tally.note("closed by the server")
    except TimeoutError:
        tally.note("waits for more")
    if answer:
        tally.answers[answer[9:].decode("latin-1")] += 1


@asynccontextmanager
async def _connection(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = target.server.line("server_ready")["http"].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
