"""Connections to the port of gRPC: they are bounded in number and time, and neither stops a call."""

from __future__ import annotations

import asyncio
import resource

import grpc
import pytest
from clipstyler_server.api import connections

from clipstyler.v1.server_service_pb2 import GetServerInfoRequest
from clipstyler.v1.server_service_pb2_grpc import ServerServiceStub
from tests.attack import http2
from tests.service.harness import PATIENCE_S, eventually, order

DESCRIPTORS = 64


def new_channel(server) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(server.app.grpc_address, options=[("grpc.use_local_subchannel_pool", 1)])


async def info(channel: grpc.aio.Channel, **options: object):
    return await ServerServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=20, **options)


@pytest.mark.parametrize(
    ("descriptors", "most"), [(64, 32), (1024, 512), (4096, 3584), (10**6, 5120), (resource.RLIM_INFINITY, 5120)]
)
def test_connections_leave_descriptors_for_everything_else(monkeypatch, descriptors, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connections.most_connections(max_calls=4096) == most


async def test_idle_connections_neither_stop_calls_nor_keep_others_out(serve, monkeypatch, gate):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (DESCRIPTORS, DESCRIPTORS))
    monkeypatch.setattr(connections, "_AGE_MS", 3_000)
    server = await serve()
    job = await server.create(order(f"hold={gate} x"))
    watching = asyncio.create_task(server.watch(job.name))
    idle = [asyncio.create_task(http2.stay(server.app.grpc_address)) for _ in range(2 * DESCRIPTORS)]
    refused = 2 * DESCRIPTORS - DESCRIPTORS // 2
    await eventually(lambda: sum(one.done() for one in idle) > refused, 2)
    assert not all(one.done() for one in idle)
    assert (await server.info()).version

    async with new_channel(server) as channel:  # there is room once the idle ones were closed
        assert (await info(channel, wait_for_ready=True)).server_info.version
    await eventually(lambda: all(one.done() for one in idle))
    assert not watching.done()
    gate.touch()
    assert (await watching).result


async def test_a_client_whose_connection_ended_notices_nothing(serve, monkeypatch, capfd):
    monkeypatch.setattr(connections, "_AGE_MS", 100)
    server = await serve()
    ended = 0  # connections: the next call had to connect again
    async with new_channel(server) as channel, asyncio.timeout(PATIENCE_S):
        while ended < 3:
            await info(channel)
            await asyncio.sleep(0.02)
            ended += channel.get_state() is grpc.ChannelConnectivity.IDLE
    assert "goaway" not in capfd.readouterr().err.lower()
