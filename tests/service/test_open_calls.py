"""Calls that are open when the server stops: they have the grace period, and then end in the server's own words."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from clipstyler_server.api.open_calls import OpenCalls
from clipstyler_server.api.server import ENCODER_SERVICE
from clipstyler_server.errors import ServiceError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_service_pb2 import (
    GetStylizationImageRequest,
    UploadImageRequest,
    WatchStylizationRequest,
)
from clipstyler.v1.stylization_service_pb2_grpc import StylizationServiceStub
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import Harness, details, eventually, order, photo, reason, request, status_of
from tests.service.methods import listed_methods
from tests.service.test_call_bounds import never
from tests.service.test_style_fits import fit
from tests.service.test_styles import asked, stub, uploaded

BUSY = "busy=1 at=1 x"


async def kept_open(*requests) -> AsyncIterator:
    """Requests of a caller that sends no more, and does not end."""
    for one in requests:
        yield one
    await asyncio.Event().wait()


async def read_to_end(call) -> list:
    return [response async for response in call]


async def stylize(server: Harness):
    call = server.stub.Stylize(request(BUSY))
    await eventually(lambda: server.app.scheduler.running)  # so that the others wait behind it
    return call


async def stylize_in_the_queue(server: Harness):
    return server.stub.Stylize(request())


async def watch(server: Harness):
    job = await server.create(order())
    return server.stub.WatchStylization(WatchStylizationRequest(name=job.name))


async def watch_a_fit(server: Harness):
    job = (await stub(server).CreateStyle(fit())).stylization
    return server.stub.WatchStylization(WatchStylizationRequest(name=job.name))


async def apply_style(server: Harness):
    return stub(server).ApplyStyle(kept_open(*asked(await uploaded(server, BUSY), photo())))


async def apply_style_to_nothing_yet(server: Harness):
    return stub(server).ApplyStyle(kept_open(*asked(await uploaded(server))))


async def render_style(server: Harness):
    application = pb.StyleApplication(style=await uploaded(server, BUSY))
    return stub(server).RenderStyle(pb.RenderStyleRequest(application=application, photo=pb.StylePhoto(image=photo())))


async def upload_image(server: Harness):
    header = UploadImageRequest.Header(size_bytes=1000, sha256=hashlib.sha256(bytes(1000)).digest())
    return server.stub.UploadImage(kept_open(UploadImageRequest(header=header), UploadImageRequest(data=bytes(500))))


async def watch_health(server: Harness):
    return health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())


async def upload_style(server: Harness):
    return stub(server).UploadStyle(pb.UploadStyleRequest(data=b"held"))


async def create_style_with_a_fit(server: Harness):
    return stub(server).CreateStyle(fit("another"))


async def create_stylization(server: Harness):
    return server.stub.CreateStylization(order("another"))


# What each call waits for: an optimizer, its place in the queue, its caller, or the end of the server. Those below wait
# for a decoder.
OPEN = [
    stylize,
    stylize_in_the_queue,
    watch,
    watch_a_fit,
    apply_style,
    apply_style_to_nothing_yet,
    render_style,
    upload_image,
    watch_health,
]
DECODING = [upload_style, create_style_with_a_fit, create_stylization]


async def ending(call) -> status_pb2.Status:
    """The status of a call that fails at its end."""
    try:
        await (read_to_end(call) if hasattr(call, "__aiter__") else call)
    except grpc.aio.AioRpcError as error:
        return status_of(error)
    raise AssertionError("the call succeeded")


def open_calls(server: Harness) -> float:
    return sum(server.app.api.bounds.open_calls().values())


def is_draining(status: status_pb2.Status) -> bool:
    retry = details(status, error_details_pb2.RetryInfo)
    assert (status.code, reason(status)) == (grpc.StatusCode.UNAVAILABLE.value[0], "DRAINING")
    return retry.retry_delay.ToMilliseconds() == 1000


async def begun(server: Harness) -> dict[str, asyncio.Task[status_pb2.Status]]:
    """Begin calls of every kind that do not end by themselves, and read them."""
    calls = {begin.__name__: await begin(server) for begin in OPEN}
    await eventually(lambda: server.app.optimizers.workers[0].applications == 2)
    held = []

    async def never_decoded(*asked: object) -> None:
        held.append(asked)
        await asyncio.Event().wait()

    server.app.decoder._in_turn = never_decoded
    calls |= {begin.__name__: await begin(server) for begin in DECODING}
    reading = {name: asyncio.create_task(ending(call)) for name, call in calls.items()}
    await eventually(lambda: len(held) == len(DECODING) or any(task.done() for task in reading.values()))
    return reading


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def endings() -> dict[str, status_pb2.Status]:
    """How calls of every kind end that are open when the server stops without a grace period."""
    server = await start(scripted.make, caller_share=1)  # else what stays unsent leaves no room for the others
    try:
        reading = await begun(server)
    finally:
        await server.stop()
    return {name: await task for name, task in reading.items()}


@pytest.mark.parametrize("name", [begin.__name__ for begin in OPEN + DECODING])
async def test_a_call_that_is_open_when_the_server_stops_ends_as_draining(endings, name):
    assert is_draining(endings[name])


async def test_every_method_ends_so_also_before_its_request_has_arrived(serve):
    server = await serve()
    methods = [m for m in await listed_methods(server.channel) if not m.path.startswith(f"/{ENCODER_SERVICE}/")]
    calls = [method.call(server.channel, never()) for method in methods]
    waiting = [asyncio.create_task(ending(call)) for call in calls]
    await eventually(lambda: open_calls(server) >= len(calls))
    await server.stop()
    assert [is_draining(status) for status in await asyncio.gather(*waiting)] == [True] * len(methods)


async def a_style(server: Harness, channel: grpc.aio.Channel):
    return StyleServiceStub(channel).DownloadStyle(pb.DownloadStyleRequest(name=await uploaded(server)))


async def an_image(server: Harness, channel: grpc.aio.Channel):
    job = await server.create(order("side=1500 x"))
    await server.watch(job.name)
    return StylizationServiceStub(channel).GetStylizationImage(GetStylizationImageRequest(name=job.name))


@pytest.mark.parametrize("begin", [a_style, an_image])
async def test_a_reader_that_is_slow_finds_the_error_behind_what_it_had_not_read(serve, begin):
    server = await serve()
    async with grpc.aio.insecure_channel(server.app.grpc_address, [("grpc.http2.bdp_probe", 0)]) as channel:
        responses = aiter(await begin(server, channel))
        await anext(responses)
        stopping = asyncio.create_task(server.stop())
        await eventually(lambda: server.app.api._calls._is_ended)
        assert is_draining(await ending(responses))
        await stopping


async def test_a_photo_at_work_has_the_grace_period_and_the_next_one_is_refused(serve, gate):
    server = await serve()
    more = asyncio.Event()
    how, photo_of_it = asked(await uploaded(server, f"hold={gate} x"), photo())

    async def photos():
        yield how
        yield photo_of_it
        await more.wait()
        yield photo_of_it

    call = stub(server).ApplyStyle(photos())
    await eventually(lambda: server.app.optimizers.workers[0].applications)
    stopping = asyncio.create_task(server.stop(grace_s=600))
    await eventually(lambda: server.app.scheduler.draining)
    more.set()
    gate.touch()
    responses = aiter(call)
    assert [(await anext(responses)).WhichOneof("part") for _ in range(2)] == ["metadata", "data"]
    assert is_draining(await ending(responses))
    await stopping


async def test_a_caller_that_sends_no_photo_delays_no_stop(serve):
    server = await serve()
    call = await apply_style_to_nothing_yet(server)
    health = await watch_health(server)
    await eventually(lambda: open_calls(server) == 2)
    reading = [asyncio.create_task(ending(one)) for one in (call, health)]
    begun = time.monotonic()
    await server.stop(grace_s=600)
    assert time.monotonic() - begun < 30
    assert [is_draining(await task) for task in reading] == [True, True]


async def test_a_second_signal_ends_the_grace_period_of_calls(serve):
    server = await serve()
    call = await render_style(server)
    await eventually(lambda: server.app.optimizers.workers[0].applications)
    stopping = asyncio.create_task(server.stop(grace_s=600))
    await eventually(lambda: server.app.scheduler.draining)
    server.app.hurry()
    assert is_draining(await ending(call))
    await stopping


async def test_a_call_that_comes_when_all_were_ended_is_ended_too():
    calls = OpenCalls()
    calls.end()
    with pytest.raises(ServiceError, match="shutting down"), calls.entered(lambda: True):
        pytest.fail("the call went on")


async def test_a_call_that_its_caller_cancels_is_no_draining_one():
    calls, begun = OpenCalls(), asyncio.Event()

    async def answer() -> None:
        with calls.entered(lambda: True):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(answer())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
