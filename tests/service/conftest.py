"""Servers for tests: real ones in this process, with real child processes, on a scripted workload."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import structlog
from clipstyler_server.app import App
from clipstyler_server.workers import process
from clipstyler_server.workers.decoder import process as decoding
from clipstyler_server.workers.optimizer import process as optimizing

from tests.service import scripted
from tests.service.harness import Harness, eventually, settings
from tests.service.process import ServerProcess, launching


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a module share an event loop, so that they can share a server."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest.fixture(scope="session", autouse=True)
def _light_children() -> Iterator[None]:
    """Spawned processes import the main module again; without its name they are spared all of pytest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(sys.modules["__main__"], "__file__", raising=False)
        patch.setattr(sys.modules["__main__"], "__spec__", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _warm_children() -> Iterator[None]:
    """Fork workers from a process that has imported what they need: a suite starts hundreds of them.

    Servers in processes of their own spawn them, as users' servers do.
    """
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload([scripted.__name__, optimizing.__name__, decoding.__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_CONTEXT", warm)
        yield


@pytest.fixture(autouse=True)
def log() -> Iterator[list[dict[str, object]]]:
    """What the server logs during the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines


async def start(make_workload: Callable[..., object], **changes: object) -> Harness:
    app = App(settings(**changes), make_workload)
    await app.start()
    channel = grpc.aio.insecure_channel(app.grpc_address, options=[("grpc.max_receive_message_length", 4 * 2**20)])
    await asyncio.wait_for(app.ready(), 60)
    return Harness(app, channel)


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Callable[..., object]]:
    """Start servers of one's own: `await serve(queue_capacity=2)` gives a harness whose worker is ready."""
    started: list[Harness] = []

    async def serve(make_workload=scripted.make, **changes: object) -> Harness:
        started.append(await start(make_workload, **changes))
        return started[-1]

    yield serve
    for harness in started:
        await harness.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_server() -> AsyncIterator[Harness]:
    harness = await start(scripted.make)
    yield harness
    await harness.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def server(shared_server: Harness) -> AsyncIterator[Harness]:
    """The module's server, idle, its metrics counted from here."""
    shared_server.count_from_here()
    yield shared_server
    await eventually(lambda: not shared_server.app.scheduler.running and not shared_server.app.queue)


@pytest_asyncio.fixture(loop_scope="module")
async def launch(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[ServerProcess]]]:
    """Start server processes: `await launch(drain_grace_s=1)`, then `await server.ready()`."""
    async with launching(tmp_path) as launch:
        yield launch


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A path that `hold=` can wait for; opened at the end at the latest, so that no test leaves a job waiting."""
    path = tmp_path / "gate"
    yield path
    path.touch()
