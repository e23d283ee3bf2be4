"""Closing a stream or a client: while it is read, and in the pause before a stream that was interrupted goes on."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from clipstyler_client import AsyncClient, Client, StylizationCancelledError

from tests.clients.scripted_server import Event, ScriptedServer, picture, serving

PHOTO = picture("gray")


def interrupted(_request: object, context: grpc.ServicerContext) -> Iterator[Event]:
    yield Event(queued=Event.Queued())
    context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")


@pytest.fixture
def restarting() -> Iterator[ScriptedServer]:
    with serving(interrupted) as server:
        yield server


@pytest.mark.parametrize("what", ["stream", "client"])
def test_what_is_closed_in_the_pause_before_a_call_goes_on_stays_closed(
    restarting: ScriptedServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with Client(restarting.target) as client, client.stylize(PHOTO, "fire") as stream:
        monkeypatch.setattr(stream._resume, "delay_after", lambda _: {"stream": stream, "client": client}[what].close())
        monkeypatch.setattr("clipstyler_client._sync.stream.time.sleep", lambda _: None)
        with pytest.raises(StylizationCancelledError, match=f"the {what} was closed"):
            list(stream)
    assert len(restarting.requests) == 1


@pytest.mark.parametrize("what", ["stream", "client"])
async def test_so_it_does_with_asyncio(restarting: ScriptedServer, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    async with AsyncClient(restarting.target) as client, client.stylize(PHOTO, "fire") as stream:

        async def pause(_: float) -> None:
            await client.close() if what == "client" else stream.close()

        monkeypatch.setattr("clipstyler_client._async.stream.asyncio.sleep", pause)
        with pytest.raises(StylizationCancelledError, match=f"the {what} was closed"):
            await stream.result()
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
