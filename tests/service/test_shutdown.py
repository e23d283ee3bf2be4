"""A server process from its start to its end, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from tempfile import mkdtemp

import aiohttp
import grpc
import psutil
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1 import stylization_service_pb2_grpc
from tests.service.harness import Caller, collect, eventually, reason, request


class Process(Caller):
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, settings: dict[str, object]) -> None:
        self.process = process
        self.settings = settings
        self.lines: list[dict] = []
        self._reading = asyncio.create_task(self._read())
        self._channel: grpc.aio.Channel | None = None

    async def _read(self) -> None:
        async for line in self.process.stderr:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))
            else:
                sys.stderr.write(line.decode())

    def line(self, event: str) -> dict | None:
        return next((line for line in self.lines if line["event"] == event), None)

    async def ready(self) -> Process:
        await eventually(lambda: self.line("server_ready") or self.process.returncode is not None)
        ready = self.line("server_ready")
        assert ready, f"the server ended with code {self.process.returncode}: {self.lines}"
        self._channel = grpc.aio.insecure_channel(ready["grpc"])
        self.stub = stylization_service_pb2_grpc.StylizationServiceStub(self._channel)
        return self

    async def health(self) -> int:
        stub = health_pb2_grpc.HealthStub(self._channel)
        return (await stub.Check(health_pb2.HealthCheckRequest())).status

    async def readyz(self) -> int:
        url = f"http://{self.line('server_ready')['http']}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status

    def begin(self, asked):
        events: list = []
        return events, asyncio.create_task(collect(self.stub.Stylize(asked), events))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def ended(self) -> tuple[int, str]:
        out = (await asyncio.wait_for(self.process.stdout.read(), 60)).decode()
        return await asyncio.wait_for(self.process.wait(), 10), out

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading
        if self._channel:
            await self._channel.close()


@pytest_asyncio.fixture(loop_scope="module")
async def launch(tmp_path) -> AsyncIterator[Callable[..., object]]:
    launched: list[Process] = []

    async def launch(**settings: object) -> Process:
        plain = {"port": 0, "http_port": 0, "encoders": "scripted", "threads": 1, "data_dir": mkdtemp(dir=tmp_path)}
        settings = plain | settings
        environment = {f"CLIPSTYLER_{name.upper()}": str(value) for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.service.serve_scripted",
            env=os.environ | environment,
            stdout=PIPE,
            stderr=PIPE,
            limit=2**20,
        )
        launched.append(Process(process, settings))
        return launched[-1]

    yield launch
    for process in launched:
        await process.close()


def kinds(events: list) -> list[str]:
    return [event.WhichOneof("event") for event in events]


async def test_sigterm_lets_the_running_job_finish_and_sends_the_others_away(launch, gate):
    server = await (await launch()).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))
    queued_events, queued = server.begin(request())
    await eventually(lambda: queued_events)
    children = server.children()

    server.process.send_signal(signal.SIGTERM)
    sent_away = await queued
    assert sent_away.kinds() == ["queued", "cancelled"]
    assert sent_away.status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert reason(sent_away.status) == "DRAINING"
    refused = await collect(server.stub.Stylize(request()))
    assert (refused.events, reason(refused.status)) == ([], "DRAINING")
    assert await server.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await server.readyz() == 503
    gate.touch()
    finished = await running
    assert (finished.status, finished.kinds()[-1]) == (None, "result")

    code, out = await server.ended()
    assert (code, json.loads(out)) == (0, {"torch": False})
    await eventually(lambda: not [child for child in children if child.is_running()])


async def test_a_job_that_outlasts_the_grace_is_cancelled_within_one_step(launch):
    server = await (await launch(drain_grace_s=0.2)).ready()
    asked = request("step=0.05 x")
    asked.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))

    server.process.send_signal(signal.SIGINT)
    cancelled = await running
    assert cancelled.kinds()[-1] == "cancelled"
    assert 0 < cancelled.only("cancelled")[0].step < 500
    assert reason(cancelled.status) == "DRAINING"
    assert (await server.ended())[0] == 0
    assert server.line("job_stopped")["steps_after_cancel"] <= 1


async def test_a_traceback_in_the_log_shows_no_text_of_a_user(launch):
    server = await (await launch()).ready()
    _, failing = server.begin(request("fail=1 secret-look"))
    await failing

    broke = await eventually(lambda: server.line("job_broke"))
    assert "scripted failure" in str(broke["exception"])
    assert "secret-look" not in str(server.lines)


async def test_a_second_signal_cuts_the_grace_short(launch, gate):
    server = await (await launch(drain_grace_s=600)).ready()
    asked = request("step=0.05 x")
    asked.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))

    server.process.send_signal(signal.SIGTERM)
    await eventually(lambda: server.line("server_draining"))
    server.process.send_signal(signal.SIGTERM)
    assert (await running).kinds()[-1] == "cancelled"
    assert (await server.ended())[0] == 0


async def test_the_worker_exits_by_itself_when_the_front_is_killed(launch):
    server = await (await launch()).ready()
    asked = request("step=0.05 x")
    asked.options.steps = 500
    events, running = server.begin(asked)
    await eventually(lambda: "progress" in kinds(events))
    children = server.children()
    assert len(children) >= 2

    server.process.kill()
    await server.process.wait()
    await eventually(lambda: not [child for child in children if child.is_running()])
    await running


async def test_a_signal_to_the_whole_group_still_lets_the_job_finish(launch, gate):
    server = await (await launch()).ready()
    events, running = server.begin(request(f"hold={gate} x"))
    await eventually(lambda: "progress" in kinds(events))

    for process in (psutil.Process(server.process.pid), *server.children()):
        process.terminate()
    await eventually(lambda: server.line("server_draining"))
    gate.touch()
    assert (await running).kinds()[-1] == "result"
    assert (await server.ended())[0] == 0


async def test_a_taken_port_is_a_clear_error(launch):
    server = await (await launch()).ready()
    address = server.line("server_ready")
    for setting, name in (("port", "grpc"), ("http_port", "http")):
        port = address[name].rsplit(":", 1)[1]
        second = await launch(**{setting: port})
        code, _ = await second.ended()
        assert code == 1
        line = await eventually(lambda second=second: second.line("server_cannot_start"))
        assert f"127.0.0.1:{port}" in line["problem"]


async def test_the_real_front_knows_the_real_workload_without_pytorch():
    code = "import sys, clipstyler_server.app, clipstyler_server.__main__; sys.exit('torch' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await asyncio.wait_for(process.wait(), 30) == 0
