"""Closing a stream or a client: while it is read, and in the pause before a stream that was interrupted goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
from clipstyler_client import AsyncClient, Client, StylizationCancelledError

from tests.clients.scripted_server import Event, ScriptedServer, picture, serving

PHOTO = picture("gray")
PAUSE_S = 10.0


def interrupted(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
    yield Event(queued=Event.Queued())
    context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")


@pytest.fixture
def restarting() -> Iterator[ScriptedServer]:
    with serving(interrupted) as server:
        yield server


@pytest.mark.parametrize("what", ["stream", "client"])
def test_what_is_closed_in_the_pause_before_a_call_goes_on_ends_at_once(
    restarting: ScriptedServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with Client(restarting.target) as client, client.stylize(PHOTO, "fire") as stream:
        monkeypatch.setattr(stream._resume, "delay_after", lambda _: PAUSE_S)
        next(stream)
        begun = time.monotonic()
        threading.Timer(0.1, {"stream": stream, "client": client}[what].close).start()
        with pytest.raises(StylizationCancelledError, match=f"the {what} was closed"):
            list(stream)
    assert time.monotonic() - begun < PAUSE_S / 2
    assert len(restarting.requests) == 1


@pytest.mark.parametrize("what", ["stream", "client"])
async def test_so_it_does_with_asyncio(restarting: ScriptedServer, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    async with AsyncClient(restarting.target) as client, client.stylize(PHOTO, "fire") as stream:
        monkeypatch.setattr(stream._resume, "delay_after", lambda _: PAUSE_S)
        await anext(stream)
        begun = time.monotonic()
        reading = asyncio.ensure_future(stream.result())
        await asyncio.wait([reading], timeout=0.1)
        await client.close() if what == "client" else stream.close()
        with pytest.raises(StylizationCancelledError, match=f"the {what} was closed"):
            await reading
    assert time.monotonic() - begun < PAUSE_S / 2
    assert len(restarting.requests) == 1


async def test_calls_of_a_closed_client_are_cancelled() -> None:
    client, asynchronous = Client("127.0.0.1:1"), AsyncClient("127.0.0.1:1")
    client.close()
    await asynchronous.close()
    for call in (client.server_info, client.wait_until_ready, lambda: client.stylize(PHOTO, "fire")):
        with pytest.raises(StylizationCancelledError, match="the client was closed"):
            call()
    for waiting in (asynchronous.server_info(), asynchronous.wait_until_ready(), asynchronous.jobs.upload(PHOTO)):
        with pytest.raises(StylizationCancelledError, match="the client was closed"):
            await waiting


class Silent(ScriptedServer):
    """Answers nothing after the first event of a stylization."""

    def GetStylization(self, _request: object, context: grpc.ServicerContext) -> None:
        self._wait(context)

    def GetStylizationImage(self, _request: object, context: grpc.ServicerContext) -> Iterator[None]:
        self._wait(context)
        yield

    def Stylize(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from super().Stylize(request, context)
        self._wait(context)

    @staticmethod
    def _wait(context: grpc.ServicerContext) -> None:
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(20)


def one_event(_request: object, _context: object) -> Iterator[Event]:
    yield Event(queued=Event.Queued())


@pytest.fixture
def silent() -> Iterator[ScriptedServer]:
    with serving(one_event, kind=Silent) as server:
        yield server


WAITS: list[Callable[[AsyncClient], Awaitable[Any]]] = [
    lambda client: client.stylize(PHOTO, "fire").result(),
    lambda client: client.jobs.get("x"),
    lambda client: client.jobs.download("x"),
]


@pytest.mark.parametrize("wait", WAITS)
async def test_closing_a_client_does_not_cancel_the_task_that_waits_for_it(
    silent: ScriptedServer, wait: Callable[[AsyncClient], Awaitable[Any]]
) -> None:
    client = AsyncClient(silent.target)
    await client.server_info()
    waiting = asyncio.ensure_future(wait(client))
    await asyncio.wait([waiting], timeout=0.05)
    await client.close()
    with pytest.raises(StylizationCancelledError):
        await waiting
    assert not waiting.cancelled()


async def test_closing_a_stream_does_not_cancel_its_reader_either(silent: ScriptedServer) -> None:
    async with AsyncClient(silent.target) as client, client.stylize(PHOTO, "fire") as stream:
        await anext(stream)
        reader = asyncio.ensure_future(stream.result())
        await asyncio.wait([reader], timeout=0.05)
        stream.close()
        with pytest.raises(StylizationCancelledError):
            await reader


async def test_a_task_that_is_cancelled_stays_so_and_its_stream_names_that(silent: ScriptedServer) -> None:
    async with AsyncClient(silent.target) as client, client.stylize(PHOTO, "fire") as stream:
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        with pytest.raises(StylizationCancelledError, match="the wait for an event was cancelled"):
            await anext(stream)
