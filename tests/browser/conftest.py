"""A browser, and the live page on a scripted server, shared by the tests. Without Chromium they are skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.async_api import Browser, async_playwright

from tests.browser.early import starting
from tests.browser.executable import chromium
from tests.browser.site import FLAGS, Site, Visit, visiting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests share an event loop, because they share the browser."""
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason="there is no Chromium: scripts/install_browser installs it")
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if chromium() is None:
                item.add_marker(missing)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def early(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, asyncio.Future[Any]]]:
    """What the tests of this session need, from the first of them on."""
    played = (item for item in request.session.items if item.get_closest_marker("skip") is None)
    wanted = {name for item in played for name in item.fixturenames}
    async with starting(tmp_path_factory.mktemp("early"), wanted) as ready:
        yield ready


def started_early(name: str, about: str) -> Any:
    """A fixture that waits for something of `early`."""

    async def started(early: dict[str, asyncio.Future[Any]]) -> Any:
        return await early[name]

    started.__doc__ = about
    return pytest_asyncio.fixture(loop_scope="session", scope="session", name=name)(started)


site = started_early("site", "The page on a scripted server that all tests share.")
fragile_site = started_early("fragile_site", "The same, on a server that a test may stop, and starts again.")
guarded_site = started_early("guarded_site", "The same, on a server that asks for a token.")
narrow_site = started_early("narrow_site", "The same, on a server with low limits.")
real_site = started_early("real_site", "The same, on a server with the bundled encoders.")
live_process = started_early("live_process", "`clipstyler live`.")
new_page = started_early("new_page", "The build of the page.")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """A new visitor of the shared page."""
    async with visiting(browser, site.url) as visit:
        yield visit
    await site.cancel_all()  # a test that failed may have left a job, which would hold up all others


@pytest_asyncio.fixture(loop_scope="session")
async def visit_to(browser: Browser) -> AsyncIterator[Callable[..., object]]:
    """Visit other pages: `await visit_to(url, width=390)`."""
    async with AsyncExitStack() as stack:

        async def visit(url: str, **options: object) -> Visit:
            return await stack.enter_async_context(visiting(browser, url, **options))

        yield visit
