"""Servers for tests: real ones in this process, with real child processes, on a scripted workload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from clipstyler_server.app import App

from tests.service import scripted
from tests.service.harness import Harness, settings


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., object]]:
    """Start servers: `await serve(queue_capacity=2)` gives a harness whose worker is ready."""
    started: list[Harness] = []

    async def start(make_workload=scripted.make, **changes: object) -> Harness:
        app = App(settings(**changes), make_workload)
        await app.start()
        channel = grpc.aio.insecure_channel(app.grpc_address, options=[("grpc.max_receive_message_length", 4 * 2**20)])
        harness = Harness(app, channel)
        started.append(harness)
        await asyncio.wait_for(app.ready(), 60)
        return harness

    yield start
    for harness in started:
        await harness.channel.close()
        await harness.app.stop(0)


@pytest.fixture
async def server(serve) -> Harness:
    return await serve()
