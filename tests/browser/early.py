"""What takes long to start, started while the first tests run: servers, the command, and the build of the page."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tests.browser.node import WEB, install_modules
from tests.browser.site import Site, serving


@dataclass(frozen=True)
class NewPage:
    """A build of the page, and the run of its unit tests after it."""

    folder: Path
    process: subprocess.Popen[str]

    @cached_property
    def output(self) -> str:
        """What both have printed; waits for their end."""
        output, errors = self.process.communicate(timeout=110)
        return output + errors


BUILT = "the page was built"


@asynccontextmanager
async def _building(folder: Path) -> AsyncIterator[NewPage]:
    install_modules()
    environment = os.environ | {"CLIPSTYLER_PAGE": str(folder / "page")}
    # `vitest` itself: what `npm test` builds before it is there already.
    script = f"npm run --silent build && echo {BUILT} && npx vitest run"
    async with _running(["sh", "-c", script], cwd=WEB, env=environment) as process:
        yield NewPage(folder / "page", process)


@asynccontextmanager
async def _living(folder: Path) -> AsyncIterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "clipstyler_cli.entry", "live", "--listen", "127.0.0.1:0"]
    async with _running([*command, "--data-dir", str(folder)]) as process:
        yield process


@asynccontextmanager
async def _running(command: list[str], **options: Any) -> AsyncIterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=40)


@asynccontextmanager
async def _guarding(folder: Path) -> AsyncIterator[Site]:
    """A server that asks for a token; nobody has one yet."""
    tokens = folder / "tokens"
    tokens.touch(0o600)
    async with serving(folder, tokens=tokens) as site:
        yield site


Starter = Callable[[Path], AbstractAsyncContextManager[Any]]
# By the names of their fixtures, in the order in which they are needed.
STARTERS: dict[str, Starter] = {
    "site": serving,
    "new_page": _building,
    "fragile_site": serving,
    "live_process": _living,
    "guarded_site": _guarding,
    "narrow_site": partial(
        serving, queue_capacity=1, max_image_bytes=60_000, max_image_pixels=200_000, encoder_sets="scripted,other"
    ),
    "real_site": partial(serving, module="clipstyler_server", encoder_sets="pocket", threads=2),
}


@asynccontextmanager
async def starting(folder: Path, wanted: Iterable[str]) -> AsyncIterator[dict[str, asyncio.Future[Any]]]:
    """Start what fixtures of these names need, one after the other; whoever needs it awaits its future."""
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    ready = {name: loop.create_future() for name in STARTERS if name in wanted}
    holding = asyncio.create_task(_hold_all(folder, ready, ending))
    try:
        yield ready
    finally:
        ending.set()
        await holding


async def _hold_all(folder: Path, ready: dict[str, asyncio.Future[Any]], ending: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        for name, future in ready.items():
            directory = folder / name
            directory.mkdir()
            group.create_task(_hold(STARTERS[name](directory), future, ending))
            await asyncio.wait([future])


async def _hold(context: AbstractAsyncContextManager[Any], ready: asyncio.Future[Any], ending: asyncio.Event) -> None:
    try:
        async with context as started:
            ready.set_result(started)
            await ending.wait()
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
