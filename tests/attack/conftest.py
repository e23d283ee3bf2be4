"""Attacks at two scales: short in the test suite, long where CLIPSTYLER_ATTACK is "long" (`make attack`).

What the attacks did is printed as a table at the end, and written to the file that CLIPSTYLER_ATTACK_FIGURES names.
Attacks are drawn from the seed `--seed` or CLIPSTYLER_ATTACK_SEED, 0 by default.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from benchmarks.figures import write
from tests.attack.measure import Figures, Target, is_long, wait_for_evaluator, watching
from tests.attack.memory_bounds import loaded_bytes, most_bytes
from tests.attack.report import show
from tests.attack.starvation import small_disk
from tests.service.process import launching

ROWS = pytest.StashKey[list[Figures]]()
# Jobs are scripted and cheap; these keep valid ones among the mutated requests cheap too.
CHEAP = {
    "max_size": 256,
    "max_steps": 8,
    "queue_capacity": 64,
    "restart_delay_s": 0.05,
    "decode_timeout_s": 10,
    "retention_interval_s": 5,
}
# What is held for as long as the server allows is held for less.
SHORT = {} if is_long() else {"receive_timeout_s": 3}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="seed of the attacks")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows, path = config.stash[ROWS], os.environ.get("CLIPSTYLER_ATTACK_FIGURES")
    if rows:
        show(rows, terminalreporter.write_line)
        write(Path(path) if path else None, {"attack": {row.name: row.as_json() for row in rows}})


class _RawLines(list[str]):
    """Keeps what is written to it, as a stream would."""

    def write(self, text: str) -> None:
        self.append(text)

    def flush(self) -> None:
        """Nothing waits."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def attackable(request: pytest.FixtureRequest, tmp_path_factory) -> AsyncIterator[Callable[..., object]]:
    """Start servers to attack: `await attackable(queue_capacity=2)`; exports are made once."""
    folder = tmp_path_factory.mktemp("attack")
    seed = request.config.getoption("--seed", None)
    seed = int(os.environ.get("CLIPSTYLER_ATTACK_SEED", "0")) if seed is None else seed
    numbers = itertools.count()
    plain = CHEAP | SHORT | {"cache_dir": folder / "cache"}

    async with AsyncExitStack() as stack:
        launch = await stack.enter_async_context(launching(folder))
        raw_lines = stack.enter_context(contextlib.redirect_stderr(_RawLines()))
        patch = stack.enter_context(pytest.MonkeyPatch.context())

        async def attackable(**settings: object) -> Target:
            record = folder / f"children-{next(numbers)}"
            patch.setenv("CLIPSTYLER_ATTACK_CHILDREN", str(record))
            server = await (await launch("tests.attack.serve", **(plain | settings))).ready()
            if server.settings["evaluator"]:
                await wait_for_evaluator(server)
            watcher = await stack.enter_async_context(watching(server, record))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.line("server_ready")["grpc"]))
            return Target(server, channel, record, watcher, seed, raw_lines, most_bytes(loaded_bytes(record)))

        yield attackable


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def jobs(attackable) -> Target:
    """A server without an evaluator, so that jobs are cheap; shared by attacks that leave its surroundings alone."""
    return await attackable()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def encoders(attackable) -> Target:
    """A server that has every method, shared alike."""
    return await attackable(evaluator=True, encoder_sets="pocket", report_timeout_s=0.2)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def starved(attackable, tmp_path_factory) -> AsyncIterator[Target]:
    """A server on a small disk that gives up frozen children soon; every attack gives back what it took."""
    # A start of the evaluator takes seconds: it is there to be killed in the long run only.
    evaluating = {"evaluator": True, "encoder_sets": "pocket"} if is_long() else {}
    impatient = {"stall_timeout_s": 1, "decode_timeout_s": 1, "report_timeout_s": 0.2}
    with small_disk(tmp_path_factory.mktemp("disk")) as folder:
        yield await attackable(data_dir=folder / "data", **impatient, **evaluating)


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Figures]:
    """The rows of the table."""
    return request.config.stash[ROWS]
