"""Calls and connections that are held: uploads that never end, downloads that no one reads, idle watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clipstyler.v1.options_pb2 import PreviewOptions
from clipstyler.v1.stylization_pb2 import Stylization
from clipstyler.v1.stylization_service_pb2 import GetStylizationImageRequest
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.attack import http2
from tests.attack.images import upload_parts
from tests.attack.measure import Target
from tests.attack.outcomes import Tally
from tests.service.harness import noise_photo, order, request

CHANNELS = 8
_MIB = 2**20
_OPENED_AT_ONCE = 32


@asynccontextmanager
async def channels(target: Target) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Open several connections."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 4 * _MIB)]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(target.address, options=options))
            for _ in range(CHANNELS)
        ]


async def hold_all(
    target: Target,
    tally: Tally,
    method: str,
    opening: Iterator[Callable[[], Awaitable[grpc.aio.Call]]],
    together: asyncio.Barrier | None = None,
) -> None:
    """Open calls, hold them all for some seconds, cancel them; what the server ended before is counted.

    They are held from when those of all tasks at a barrier are open.
    """
    gate, calls = asyncio.Semaphore(_OPENED_AT_ONCE), []

    async def open_one(make: Callable[[], Awaitable[grpc.aio.Call]]) -> None:
        async with gate:
            tally.inputs += 1
            calls.append(await make())

    try:
        await asyncio.gather(*map(open_one, opening))
        if together:
            await together.wait()
        await asyncio.sleep(target.scale(1.0, 10))
    finally:
        for call in calls:
            await _let_go(tally, method, call)


async def _let_go(tally: Tally, method: str, call: grpc.aio.Call) -> None:
    if call.cancel():
        tally.note("held")
    else:
        tally.ended(method, await call.code(), await call.details() or "", await call.trailing_metadata())


async def _go_as_far_as_possible(target: Target, steps: Coroutine[Any, Any, object]) -> None:
    """Give a call some time to send or read what it can, and leave it as it is: a step that is cancelled ends it."""

    async def go() -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            await steps

    await asyncio.wait({asyncio.create_task(go())}, timeout=target.scale(0.5, 3.0))


async def unfinished_uploads(target: Target, tally: Tally, together: asyncio.Barrier | None = None) -> None:
    """Announce 16 MiB, send most of it, and stop."""
    image = noise_photo(64, 64).ljust(target.scale(_MIB, 15 * _MIB), b"\0")

    async def begin(channel: grpc.aio.Channel) -> grpc.aio.Call:
        call = StylizationServiceStub(channel).UploadImage()

        async def send() -> None:
            for part in upload_parts(image, 16 * _MIB):
                await call.write(part)

        await _go_as_far_as_possible(target, send())
        return call

    async with channels(target) as opened:
        opening = (lambda n=n: begin(opened[n % CHANNELS]) for n in range(target.scale(40, 200)))
        await hold_all(target, tally, "UploadImage", opening, together)


async def unread_downloads(
    target: Target, tally: Tally, together: asyncio.Barrier | None = None, name: str = ""
) -> None:
    """Ask for the large image of a job, by default of a new one, and read the first message only."""
    asked = GetStylizationImageRequest(name=name or await _large_result(target), kind=Stylization.IMAGE_KIND_RESULT)

    async def begin(channel: grpc.aio.Channel) -> grpc.aio.Call:
        call = StylizationServiceStub(channel).GetStylizationImage(asked)
        await _go_as_far_as_possible(target, call.read())
        return call

    async with channels(target) as opened:
        opening = (lambda n=n: begin(opened[n % CHANNELS]) for n in range(target.scale(40, 200)))
        await hold_all(target, tally, "GetStylizationImage", opening, together)


async def _large_result(target: Target) -> str:
    """Run a job with a large result; returns its name."""
    job = await target.server.create(order("side=1800 a large result"))
    await target.server.watch(job.name)
    return job.name


async def idle_watches(target: Target, tally: Tally, together: asyncio.Barrier | None = None) -> None:
    """Watch health, which does not change."""

    async def watch(channel: grpc.aio.Channel) -> grpc.aio.Call:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.read()
        return call

    async with channels(target) as opened:
        opening = (lambda n=n: watch(opened[n % CHANNELS]) for n in range(target.scale(200, 2000)))
        await hold_all(target, tally, "Watch", opening, together)


async def silent_reflection(target: Target, tally: Tally) -> None:
    """Ask reflection one thing and fall silent: the server ends such streams after some seconds."""

    async def reflect(channel: grpc.aio.Channel) -> grpc.aio.Call:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            await call.read()
        return call

    async with channels(target) as opened:
        opening = (lambda n=n: reflect(opened[n % CHANNELS]) for n in range(target.scale(4, 40)))
        await hold_all(target, tally, "ServerReflectionInfo", opening)


async def everything_held(target: Target, tally: Tally) -> None:
    """Hold uploads, downloads and watches, all at once, after a while in which the bystander's jobs are alone."""
    name = await _large_result(target)
    await target.watcher.restart()
    await asyncio.sleep(target.scale(2.0, 20))
    tally.notes["jobs alone"] = (await target.watcher.look())["bystander"]["job_started"]
    await target.watcher.restart()
    together = asyncio.Barrier(3)
    async with asyncio.TaskGroup() as group:
        group.create_task(unfinished_uploads(target, tally, together))
        group.create_task(unread_downloads(target, tally, together, name))
        group.create_task(idle_watches(target, tally, together))


async def slow_readers(target: Target, tally: Tally) -> None:
    """Run jobs with large results, and read one message at a time, slowly."""
    pause_s = target.scale(0.02, 0.5)
    asked = request("side=1500 step=0.01 slow", previews=PreviewOptions(every_steps=1))

    async def read(channel: grpc.aio.Channel) -> None:
        async for _ in StylizationServiceStub(channel).Stylize(asked, timeout=120):
            await asyncio.sleep(pause_s)

    async with channels(target) as opened:
        count = target.scale(4, 40)
        await asyncio.gather(*(tally.count("Stylize", read(opened[n % CHANNELS])) for n in range(count)))


def _beginnings(target: Target) -> list[bytes]:
    """Return what connections begin with before they fall silent."""
    whole = http2.opening("/clipstyler.v1.ServerService/GetServerInfo", target.address)
    return [b"", b"P", whole[:24], whole[:33], whole, whole[:-5], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\0\1", b"\0"]


async def half_open_connections(target: Target, tally: Tally) -> None:
    """Connect to both ports, send a beginning or nothing, and stay."""
    addresses = (target.address, target.server.line("server_ready")["http"])
    beginnings = _beginnings(target)
    writers: list[asyncio.StreamWriter] = []
    try:
        for number in range(target.scale(60, 1000)):
            host, port = addresses[number % 2].rsplit(":", 1)
            tally.inputs += 1
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 10)
            except (OSError, TimeoutError):
                tally.note("not accepted")
                continue
            writers.append(writer)
            writer.write(beginnings[number // 2 % len(beginnings)])
        await asyncio.sleep(target.scale(1.0, 10))
    finally:
        for writer in writers:
            writer.close()
