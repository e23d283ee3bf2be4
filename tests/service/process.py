"""A server in a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp

import aiohttp
import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipstyler.v1 import stylization_service_pb2_grpc
from tests.service.harness import Caller, collect, eventually

START_S = 90.0


class ServerProcess(Caller):
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, settings: dict[str, object]) -> None:
        self.process = process
        self.settings = settings
        self.lines: list[dict] = []
        self.raw_lines: list[str] = []  # that are no JSON
        self._reading = asyncio.create_task(self._read())
        self._channel: grpc.aio.Channel | None = None

    async def _read(self) -> None:
        async for line in self.process.stderr:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))
            else:
                self.raw_lines.append(line.decode())
                sys.stderr.write(self.raw_lines[-1])

    def line(self, event: str) -> dict | None:
        return next((line for line in self.lines if line["event"] == event), None)

    async def ready(self) -> ServerProcess:
        """Wait until it takes jobs; on a busy machine encoders are long in coming."""
        await eventually(lambda: self.line("server_ready") or self.process.returncode is not None, START_S)
        ready = self.line("server_ready")
        assert ready, f"the server ended with code {self.process.returncode}: {self.lines}"
        self._channel = grpc.aio.insecure_channel(ready["grpc"])
        self.stub = stylization_service_pb2_grpc.StylizationServiceStub(self._channel)
        return self

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection to it, once it is ready."""
        assert self._channel
        return self._channel

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


@asynccontextmanager
async def launching(folder: Path) -> AsyncIterator[Callable[..., Awaitable[ServerProcess]]]:
    """Give a function that starts servers, their data below a folder; all are killed at the end."""
    launched: list[ServerProcess] = []

    async def launch(module: str = "tests.service.serve_scripted", **settings: object) -> ServerProcess:
        plain = {"port": 0, "http_port": 0, "encoder_sets": "scripted", "threads": 1, "data_dir": mkdtemp(dir=folder)}
        settings = plain | {"evaluator": False} | settings
        environment = {f"CLIPSTYLER_{name.upper()}": str(value) for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=os.environ | environment, stdout=PIPE, stderr=PIPE, limit=2**20
        )
        launched.append(ServerProcess(process, settings))
        return launched[-1]

    try:
        yield launch
    finally:
        for process in launched:
            await process.close()
