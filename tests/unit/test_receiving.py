"""Requests of a call are received without stopping the event loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from clipstyler_server.api.bounds import SMALL_REQUEST_BYTES, CallBounds
from clipstyler_server.api.receiving import Requests
from clipstyler_server.errors import ServiceError

from clipstyler.v1.encoder_service_pb2 import ClassifyImageRequest
from clipstyler.v1.stylization_service_pb2 import CreateStylizationRequest
from tests.service.harness import settings

CALLERS = 4


@pytest.mark.asyncio
async def test_the_event_loop_comes_round_between_large_requests_that_arrive_together(tmp_path):
    rounds = 0
    parsed_in: list[int] = []

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def parse(_: bytes) -> CreateStylizationRequest:
        parsed_in.append(rounds)
        return CreateStylizationRequest()

    async def read() -> bytes:
        return b"\x0a\x80\x80\x40" + b"x" * SMALL_REQUEST_BYTES  # field 1 with 2^20 bytes

    bounds = CallBounds(settings(data_dir=str(tmp_path)))
    calls = [
        Requests(
            SimpleNamespace(read=read), parse, bounds, f"10.0.0.{number}", f"ipv4:10.0.0.{number}:1", has_photos=True
        )
        for number in range(CALLERS)
    ]
    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*(call.only() for call in calls))
    counting.cancel()

    assert len(set(parsed_in)) == CALLERS


@pytest.mark.asyncio
async def test_a_large_request_of_very_many_elements_is_refused_before_it_is_parsed(tmp_path):
    labels = ClassifyImageRequest(labels=[""] * SMALL_REQUEST_BYTES).SerializeToString()

    async def read() -> bytes:
        return labels

    bounds = CallBounds(settings(data_dir=str(tmp_path)))
    call = Requests(SimpleNamespace(read=read), pytest.fail, bounds, "10.0.0.1", "ipv4:10.0.0.1:1", has_photos=True)
    with pytest.raises(ServiceError, match="more than 4096 fields"):
        await call.only()
