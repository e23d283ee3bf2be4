"""A browser, and the live page on a scripted server, shared by the tests. Without Chromium they are skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.async_api import Browser, async_playwright

from tests.browser.node import install_modules
from tests.browser.site import FLAGS, Site, Visit, chromium, serving, visiting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests share an event loop, because they share the browser."""
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason="there is no Chromium: scripts/install_browser installs it")
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if chromium() is None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The page's dependencies for Node.js."""
    return install_modules()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The page on a scripted server that all tests share."""
    async with serving(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """A new visitor of the shared page."""
    async with visiting(browser, site.url) as visit:
        yield visit


@pytest_asyncio.fixture(loop_scope="session")
async def visit_to(browser: Browser) -> AsyncIterator[Callable[..., object]]:
    """Visit other pages: `await visit_to(url, width=390)`."""
    async with AsyncExitStack() as stack:

        async def visit(url: str, **options: object) -> Visit:
            return await stack.enter_async_context(visiting(browser, url, **options))

        yield visit


@pytest_asyncio.fixture(loop_scope="session")
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Start a server of one's own: `await serve(queue_capacity=1)`."""
    async with AsyncExitStack() as stack:

        async def start(module: str = "tests.service.serve_scripted", **settings: object) -> Site:
            return await stack.enter_async_context(serving(tmp_path, module, **settings))

        yield start
