"""Faults at two scales: a few of each in the test suite, many where CLIPSTYLER_FAULTS is "long" (`make faults`).

What the tests counted is written to the file that CLIPSTYLER_FAULTS_FIGURES names.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.figures import write
from tests.service.process import ServerProcess, launching

Scale = Callable[[float, float], float]
FIGURES = pytest.StashKey[dict[str, dict[str, object]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long run does."""
    left_out = [] if is_long() else [item for item in items if item.get_closest_marker("long_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def is_long() -> bool:
    """Whether this is the long run."""
    return os.environ.get("CLIPSTYLER_FAULTS") == "long"


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, figures = os.environ.get("CLIPSTYLER_FAULTS_FIGURES"), session.config.stash[FIGURES]
    if path and figures:
        write(Path(path), {"faults": figures})


@pytest.fixture
def scale() -> Scale:
    """How much: `scale(3, 50)` is the first number in the test suite and the second one in the long run."""
    return lambda few, many: many if is_long() else few


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """What a test counts, written down under its name."""
    counted: dict[str, object] = {}
    begun = time.monotonic()
    yield counted
    counted["seconds"] = round(time.monotonic() - begun, 1)
    request.config.stash[FIGURES][request.node.name.removeprefix("test_")] = counted


@pytest_asyncio.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[ServerProcess]]]:
    """Start server processes that tidy up all the time: `await launch()`, then `await server.ready()`."""
    async with launching(tmp_path) as launch_plain:

        async def launch(*arguments: str, **settings: object) -> ServerProcess:
            return await launch_plain(*arguments, **({"retention_interval_s": 0.5, "restart_delay_s": 0.05} | settings))

        yield launch
