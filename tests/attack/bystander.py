"""An innocent caller from an address of its own, whose delays are measured while the server is attacked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.service.harness import order

ADDRESS = "127.0.0.2"
"""The attacker calls from 127.0.0.1: turns go by address."""
_HEALTH_S = 0.05
_LIVEZ_S = 0.02
_READYZ_S = 0.05
_BETWEEN_JOBS_S = 0.25
_TICK_S = 0.01
_PATIENCE_S = 60.0
WAITING = ("queued", "gap", "heartbeat", "warning")
FAILURES = (grpc.aio.AioRpcError, aiohttp.ClientError, OSError, TimeoutError)


class Delays:
    """Seconds that something took, since the measurement began; what still lasts counts too."""

    def __init__(self) -> None:
        self.restart()
        self._open: dict[object, float] = {}

    def restart(self) -> None:
        """Forget what was measured."""
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()
        self._begun = time.monotonic()

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block; a call or connection that fails is counted instead."""
        key = object()
        self._open[key] = time.monotonic()
        try:
            yield
            self.seconds.append(self._since(self._open[key]))
        except FAILURES as error:
            self.failures[error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__] += 1
            raise
        finally:
            del self._open[key]

    def figures(self) -> dict[str, object]:
        """Return how many there were, the median, the longest and the failures."""
        seconds = sorted([*self.seconds, *map(self._since, self._open.values())])
        return {
            "count": len(seconds),
            "median_s": round(seconds[len(seconds) // 2], 4) if seconds else None,
            "longest_s": round(seconds[-1], 4) if seconds else None,
            "failures": dict(self.failures),
        }

    def _since(self, begun: float) -> float:
        return time.monotonic() - max(begun, self._begun)


class Bystander:
    """Runs small jobs, checks health and reads the pages, one after the other of each.

    Parameters
    ----------
    grpc_address, http_address
        Of the server.
    """

    def __init__(self, grpc_address: str, http_address: str) -> None:
        self._grpc_address = grpc_address
        self._http_address = http_address
        names = ("job_started", "job_finished", "health", "livez", "readyz", "own_pause")
        self._delays = {name: Delays() for name in names}
        self._not_ready = 0
        self._awake = asyncio.Event()

    def pause(self) -> None:
        """Call no more, until measured again."""
        self._awake.clear()

    def restart(self) -> None:
        """Call, and measure from now on."""
        self._awake.set()
        for delays in self._delays.values():
            delays.restart()
        self._not_ready = 0

    def figures(self) -> dict[str, object]:
        """Return the delays by name."""
        return {name: delays.figures() for name, delays in self._delays.items()} | {"not_ready": self._not_ready}

    async def run(self) -> None:
        """Call until cancelled."""
        relay = await _relay(self._grpc_address)
        port = relay.sockets[0].getsockname()[1]
        async with (
            relay,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_PATIENCE_S)) as session,
            asyncio.TaskGroup() as group,
        ):
            health = health_pb2_grpc.HealthStub(channel)
            stub = StylizationServiceStub(channel)
            for repeated in (
                self._every(_HEALTH_S, lambda: self._check_health(health)),
                self._every(_LIVEZ_S, lambda: self._read_page(session, "livez")),
                self._every(_READYZ_S, lambda: self._read_page(session, "readyz")),
                self._every(_BETWEEN_JOBS_S, lambda: self._run_job(stub)),
                self._note_own_pauses(),
            ):
                group.create_task(repeated)

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._awake.wait()
            with contextlib.suppress(*FAILURES):
                await act()
            await asyncio.sleep(seconds)

    async def _check_health(self, stub: health_pb2_grpc.HealthStub) -> None:
        with self._delays["health"].measured():
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_S)

    async def _read_page(self, session: aiohttp.ClientSession, page: str) -> None:
        with self._delays[page].measured():
            async with session.get(f"http://{self._http_address}/{page}") as response:
                await response.read()
                self._not_ready += response.status == 503

    async def _run_job(self, stub: StylizationServiceStub) -> None:
        with self._delays["job_finished"].measured():
            with self._delays["job_started"].measured():
                created = await stub.CreateStylization(
                    order("a bystander"), metadata=[("x-clipstyler-client", "bystander")], timeout=_PATIENCE_S
                )
                watch = pb.WatchStylizationRequest(name=created.stylization.name)
                call = stub.WatchStylization(watch, timeout=_PATIENCE_S)
                while (kind := await _next_kind(call)) in WAITING:
                    pass
            while kind is not None:
                if kind in ("failed", "cancelled"):
                    self._delays["job_finished"].failures[kind] += 1
                kind = await _next_kind(call)

    async def _note_own_pauses(self) -> None:
        """Record by how much this process wakes up late: that much of a delay may be its own."""
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self._delays["own_pause"].seconds.append(time.monotonic() - begun - _TICK_S)


async def _next_kind(call: grpc.aio.UnaryStreamCall) -> str | None:
    response = await call.read()
    return None if response is grpc.aio.EOF else response.event.WhichOneof("event")


async def _relay(target: str) -> asyncio.Server:
    """Listen on a free port and pass everything on from the bystander's address."""
    host, port = target.rsplit(":", 1)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward = await asyncio.open_connection(host, int(port), local_addr=(ADDRESS, 0))
            await asyncio.gather(_pass_on(reader, onward[1]), _pass_on(onward[0], writer))

    return await asyncio.start_server(connect, "127.0.0.1", 0)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
