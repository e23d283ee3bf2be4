"""A gateway in front of a real server on the scripted workload, and one before a server that shows what arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running

from clipstyler.v1 import server_service_pb2
from tests.conformance.later_server import LaterServer
from tests.conformance.servers import Servers
from tests.gateway.long_stream import LongStream


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    started = Servers(tmp_path_factory.mktemp("servers"))
    yield started
    started.stop()


@pytest.fixture(scope="package")
def target(servers: Servers) -> str:
    """Address of the server behind the gateway."""
    return servers.get("main").target


@pytest.fixture(scope="package")
def url(servers: Servers) -> str:
    """URL of the gateway."""
    return servers.gateway("main")


@pytest.fixture(scope="package")
def long_stream(servers: Servers) -> LongStream:
    return LongStream(servers.gateway("timed"))


@pytest.fixture(scope="package", autouse=True)
def _early(request: pytest.FixtureRequest) -> None:
    """Begin the long stream with the first test, if one of them waits for it."""
    if any("long_stream" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("long_stream")


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**23) as session:
        yield session


class ShowingServer(LaterServer):
    """Keeps what the calls of GetServerInfo call themselves, by both headers, and their time left in seconds."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []
        self.forwarded: list[list[str]] = []
        self.left_s: list[float | None] = []
        super().__init__()

    def GetServerInfo(self, request: object, context: object) -> server_service_pb2.GetServerInfoResponse:
        for header, values in (("x-clipstyler-client", self.names), ("x-forwarded-for", self.forwarded)):
            values.append([value for key, value in context.invocation_metadata() if key == header])
        self.left_s.append(context.time_remaining())
        return super().GetServerInfo(request, context)


@pytest.fixture
def showing() -> Iterator[ShowingServer]:
    server = ShowingServer()
    yield server
    server.stop()


@pytest.fixture
def showing_url(showing: ShowingServer) -> Iterator[str]:
    with running(GatewayConfig(port=0, servers=(showing.target,), trusted_hops=1)) as gateway:
        yield gateway.address


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A static page of two files."""
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<!doctype html>" + "<p>live</p>" * 200)
    (tmp_path / "page" / "assets" / "app-1a2b.js").write_text("export {};\n" * 200)
    return tmp_path / "page"
