"""Requests of a call are received without stopping the event loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from clipstyler_server.api.bounds import SMALL_REQUEST_BYTES, CallBounds
from clipstyler_server.api.receiving import Requests

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
        return b"x" * (SMALL_REQUEST_BYTES + 1)

    bounds = CallBounds(settings(data_dir=str(tmp_path)))
    calls = [
        Requests(SimpleNamespace(read=read), parse, bounds, f"10.0.0.{number}", f"peer {number}", True)
        for number in range(CALLERS)
    ]
    counting = asyncio.create_task(count_rounds())
    await asyncio.gather(*(call.only() for call in calls))
    counting.cancel()

    assert len(set(parsed_in)) == CALLERS
