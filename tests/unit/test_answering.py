"""Responses are made when they fit, and written to whoever is still there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock

import grpc
import pytest
import structlog
from clipstyler_server.api.authentication import Gatekeeper
from clipstyler_server.api.bounds import CallBounds
from clipstyler_server.api.callers import Callers
from clipstyler_server.api.interceptors import RpcGuard, _Call
from clipstyler_server.api.sending import Deferred
from clipstyler_server.errors import internal
from clipstyler_server.identity.files import IdentityFiles
from clipstyler_server.observability.metrics import Metrics
from clipstyler_server.observability.traces import NoSpan, NoTracer

from clipstyler.v1.stylization_service_pb2 import GetStylizationRequest, StylizeResponse
from tests.service.harness import settings

LARGE = 2**20
HANDLER = SimpleNamespace(request_streaming=False, request_deserializer=GetStylizationRequest.FromString)


def context_of(address: str = "10.0.0.1") -> MagicMock:
    """Make what gRPC passes to a handler, of a caller who is there and reads."""
    context = MagicMock()
    context.peer.return_value = f"ipv4:{address}:1"
    context.invocation_metadata.return_value = ()
    context.time_remaining.return_value = None
    context.done.return_value = False
    context.code.return_value = 0
    for name in ("read", "write", "abort", "send_initial_metadata"):
        setattr(context, name, AsyncMock())
    return context


@pytest.fixture
def bounds(tmp_path) -> CallBounds:
    return CallBounds(settings(data_dir=str(tmp_path)))


def gatekeeper() -> Gatekeeper:
    """Of a server that asks for no credentials."""
    return Gatekeeper(IdentityFiles(settings().identity_paths), Callers(), peer_key=lambda: "")


def call_of(context: MagicMock, bounds: CallBounds) -> _Call:
    call = _Call("/service/method", context, bounds, gatekeeper(), NoSpan())
    call.enter(HANDLER, has_photos=False)
    return call


@pytest.mark.asyncio
async def test_the_bytes_of_a_large_response_are_made_once_there_is_room_for_them(bounds):
    make = AsyncMock(return_value=StylizeResponse())
    context = context_of()
    async with bounds.outgoing.hold("10.0.0.1", settings().max_outgoing_bytes, line="another call"):
        sending = asyncio.create_task(call_of(context, bounds).send(Deferred(LARGE, make)))
        for _ in range(10):
            await asyncio.sleep(0)
        make.assert_not_awaited()
    await sending
    make.assert_awaited_once()
    context.write.assert_awaited_once_with(make.return_value)


@pytest.mark.asyncio
@pytest.mark.parametrize("breaks", ["write", "abort"])
async def test_a_call_whose_connection_breaks_while_it_is_answered_is_cancelled_quietly(bounds, breaks):
    context = context_of()
    getattr(context, breaks).side_effect = grpc.aio.InternalError("the connection is gone")
    guard = RpcGuard(Metrics(), bounds, gatekeeper(), frozenset(), NoTracer())

    async def answer() -> None:
        async with guard._around("/service/method", HANDLER, context) as call:
            if breaks == "abort":
                raise internal("a fault")
            await call.send(StylizeResponse())

    with structlog.testing.capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await answer()
    assert [line for line in lines if line["event"] == "rpc_failed"] == []
