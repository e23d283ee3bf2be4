"""Calls are made again by the client: as late as the server recommends, also if a response breaks off."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from clipstyler_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    ServerUnavailableError,
    StylizationCancelledError,
)
from clipstyler_client._channel import Stub
from clipstyler_client._jobs import JobPage, Upload
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from clipstyler.v1 import (
    style_service_pb2,
    style_service_pb2_grpc,
    stylization_service_pb2,
)
from tests.clients.scripted_server import ScriptedServer, metadata, picture, refuse, serving

PHOTO = picture("gray")
STYLE = b"the file of a style"
STYLE_NAME = hashlib.sha256(STYLE).hexdigest()
DELAY_S = 0.5

Call = Callable[[Any], Any]
CALLS: dict[str, Call] = {
    "ListStylizations": lambda client: client.jobs.page(),
    "UploadImage": lambda client: client.jobs.upload(PHOTO),
    "GetStylizationImage": lambda client: client.jobs.download("x"),
    "DownloadStyle": lambda client: client.styles.download(STYLE_NAME),
    "RenderStyle": lambda client: client.styles.render(PHOTO, style="x"),
}

RESULTS = {
    "ListStylizations": JobPage((), ""),
    "UploadImage": Upload(f"uploads/{hashlib.sha256(PHOTO).hexdigest()}"),
    "DownloadStyle": STYLE,
}


class Busy(ScriptedServer, style_service_pb2_grpc.StyleServiceServicer):
    """Refuses the first attempt of each call, or breaks its response off, and recommends when to try again."""

    breaks_off = False
    always = False
    attempts: Counter[str]

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.attempts = Counter()

    def ListStylizations(self, _request: object, context: grpc.ServicerContext) -> Any:
        self._refuse("ListStylizations", context)
        return stylization_service_pb2.ListStylizationsResponse()

    def UploadImage(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        sent = b"".join(request.data for request in requests)
        self._refuse("UploadImage", context)
        return stylization_service_pb2.UploadImageResponse(upload=f"uploads/{hashlib.sha256(sent).hexdigest()}")

    def GetStylizationImage(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._image("GetStylizationImage", context, stylization_service_pb2.GetStylizationImageResponse)

    def RenderStyle(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._image("RenderStyle", context, style_service_pb2.RenderStyleResponse)

    def DownloadStyle(self, _request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        parts = (style_service_pb2.DownloadStyleResponse(data=part) for part in (STYLE[:3], STYLE[3:]))
        return self._parts("DownloadStyle", context, parts)

    def _image(self, call: str, context: grpc.ServicerContext, part: Any) -> Iterator[Any]:
        parts = (part(metadata=metadata(PHOTO)), part(data=PHOTO[:5]), part(data=PHOTO[5:]))
        return self._parts(call, context, iter(parts))

    def _parts(self, call: str, context: grpc.ServicerContext, parts: Iterator[Any]) -> Iterator[Any]:
        if self.breaks_off:
            yield next(parts)
        self._refuse(call, context)
        yield from parts

    def _refuse(self, call: str, context: grpc.ServicerContext) -> None:
        self.attempts[call] += 1
        if self.always or self.attempts[call] == 1:
            delay = duration_pb2.Duration(nanos=int(DELAY_S * 1e9))
            retry = error_details_pb2.RetryInfo(retry_delay=delay)
            refuse(context, grpc.StatusCode.UNAVAILABLE, "the storage is busy", retry)


@pytest.fixture
def busy() -> Iterator[Busy]:
    with serving(kind=Busy, services=[style_service_pb2_grpc.add_StyleServiceServicer_to_server]) as server:
        assert isinstance(server, Busy)
        yield server


async def made(kind: type[Client | AsyncClient], target: str, call: Call) -> Any:
    """Make a call of a client of either kind."""
    client = kind(target)
    try:
        result = call(client)
        return await result if inspect.isawaitable(result) else result
    finally:
        closing = client.close()
        if closing is not None:
            await closing


@pytest.mark.parametrize("breaks_off", [False, True], ids=["refused", "broken off"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_made_again_after_the_recommended_delay(
    busy: Busy, name: str, kind: type[Client | AsyncClient], breaks_off: bool
) -> None:
    busy.breaks_off = breaks_off
    begun = time.monotonic()
    result = await made(kind, busy.target, CALLS[name])
    assert time.monotonic() - begun >= DELAY_S
    assert busy.attempts[name] == 2
    assert getattr(result, "data", result) == RESULTS.get(name, PHOTO)


def test_no_call_is_made_again_after_its_deadline(busy: Busy) -> None:
    busy.always = True
    with Client(busy.target) as client, pytest.raises(ServerUnavailableError, match="the storage is busy"):
        client.jobs.download("x", timeout_s=DELAY_S / 2)
    assert busy.attempts["GetStylizationImage"] == 1


@pytest.mark.parametrize("is_closed", [False, True])
def test_only_a_closed_client_is_called_closed(is_closed: bool) -> None:
    def refused(*_arguments: object, **_settings: object) -> None:
        raise ValueError("metadata was invalid")

    stub = Stub(SimpleNamespace(Call=refused), (), lambda: is_closed)
    with pytest.raises(StylizationCancelledError if is_closed else ValueError):
        stub.Call("a request")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "call", [lambda client: client.stylize(b"x" * 101, "fire"), lambda client: client.styles.upload(b"x" * 101)]
)
async def test_a_message_that_cannot_be_encoded_is_refused_before_any_call(
    monkeypatch: pytest.MonkeyPatch, kind: type[Client | AsyncClient], call: Call
) -> None:
    monkeypatch.setattr("clipstyler_client._channel._LARGEST_MESSAGE", 100)  # it has 2 GiB
    with pytest.raises(InvalidRequestError, match="and a message at most 100"):
        await made(kind, "127.0.0.1:1", call)
