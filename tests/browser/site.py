"""The live page as a user has it: a server, the gateway, and a browser that looks at the page."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running
from clipstyler_cli.live_page import built_page
from playwright.async_api import Browser, BrowserContext, Page, Request, expect

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.stylization_pb2 import Stylization
from tests.browser.node import install_modules
from tests.service.process import ServerProcess, launching

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CAT = EXAMPLES / "cat.jpg"
WIDE, NARROW = 1280, 390
HEIGHTS = {WIDE: 900, NARROW: 844}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# How long something may take on a busy machine, unless a test is about time.
PATIENCE_S = 20.0
expect.set_options(timeout=1000 * PATIENCE_S)
# Chromium's own report of an error of HTTP or of a lost connection, which tests of those provoke.
_PROVOKED = ("Failed to load resource", "net::ERR_")

# Milliseconds from the press of the button to the first picture that is not the photo.
FIRST_PREVIEW = """() => new Promise((resolve) => {
  const image = document.getElementById("over");
  const begun = performance.now();
  new MutationObserver((_, observer) => {
    if (image.alt === "The photo") return;
    observer.disconnect();
    const done = () => resolve(performance.now() - begun);
    image.decode().then(done, done); // the next picture may come while this one is decoded
  }).observe(image, {attributes: true, attributeFilter: ["src"]});
  document.getElementById("submit").click();
})"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# The keys of the images that the browser has saved: name of the job, and step.
SAVED_IMAGES = """
new Promise((resolve, reject) => {
  const opening = indexedDB.open("clipstyler");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("images").objectStore("images").getAllKeys();
    reading.onsuccess = () => {
      opening.result.close();
      resolve(reading.result);
    };
  };
})
"""


@dataclass
class Site:
    """A server and the gateway in front of it."""

    launch: Callable[..., Awaitable[ServerProcess]]
    settings: dict[str, object]
    module: str
    server: ServerProcess | None = None
    url: str = ""

    async def start_server(self) -> None:
        self.server = await (await self.launch(self.module, **self.settings)).ready()

    async def stop_server(self) -> None:
        await self.server.close()

    async def cancel_all(self) -> None:
        """Cancel all jobs that have not ended."""
        for state in (Stylization.STATE_QUEUED, Stylization.STATE_RUNNING):
            left = await self.server.stub.ListStylizations(pb.ListStylizationsRequest(state=state))
            for job in left.stylizations:
                await self.server.stub.CancelStylization(pb.CancelStylizationRequest(name=job.name))


@asynccontextmanager
async def serving(
    folder: Path, module: str = "tests.service.serve_scripted", **settings: object
) -> AsyncIterator[Site]:
    port = free_port()
    data = folder / f"data-{port}"
    data.mkdir()
    fixed = {"port": port, "data_dir": data, "caller_share": 1, "evaluator": False, "heartbeat_s": 2}
    async with launching(folder) as launch:
        site = Site(launch, fixed | settings, module)
        await site.start_server()
        with running(GatewayConfig(port=0, servers=(f"127.0.0.1:{port}",), page=built_page())) as gateway:
            site.url = gateway.address
            yield site


class Network:
    """The network between browser and gateway, which can fail. Chromium's own switch leaves open streams alone."""

    def __init__(self, url: str) -> None:
        self._host, _, self._port = url.removeprefix("http://").rpartition(":")
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    async def start(self) -> str:
        """Start it; returns the address at which the gateway is reached through it."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        self._is_cut = False

    async def stop(self) -> None:
        self.cut()
        self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there, here = await asyncio.open_connection(self._host, int(self._port))
        self._writers |= {writer, here}
        with suppress(OSError):
            await asyncio.gather(self._forward(reader, here), self._forward(there, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@dataclass
class Visit:
    """A visitor's browser, with a profile of its own, and what happened in it."""

    context: BrowserContext
    url: str
    viewport: dict[str, int]
    page: Page = field(init=False)
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def tab(self, fragment: str = "") -> Page:
        """Open the page in a further tab."""
        page = await self.context.new_page()
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._note)
        await page.goto(f"{self.url}/{fragment}")
        return page

    def _request(self, request: Request) -> None:
        self.requests.append(request)

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not any(words in message.text for words in _PROVOKED):
            self.problems.append(message.text)

    async def choose(self, photo: Path | dict[str, Any] = CAT) -> None:
        # As the page's own button does: Chromium reports no change if the same file is chosen again.
        await self.page.evaluate("document.getElementById('file').value = ''")
        await self.page.evaluate("document.getElementById('announcer').textContent = ''")
        await self.page.set_input_files("#file", photo)
        taken = self.page.locator("#announcer:not(:empty), #photo-error:not(:empty)")
        await expect(taken.first).to_be_attached()

    async def stylize(self, text: str, photo: Path | dict[str, Any] = CAT, **numbers: int) -> None:
        """Choose a photo, fill in the form, and begin."""
        await self.choose(photo)
        await self.fill(text, **numbers)
        await self.page.click("#submit")

    async def fill(self, text: str, **numbers: int) -> None:
        if numbers.keys() & {"steps", "patches"}:
            await self.page.evaluate("document.getElementById('advanced').open = true")
        for name, value in numbers.items():
            await self.page.fill(f"#{name}", str(value))
        await self.page.fill("#style-text", text)

    async def status(self, words: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the status has these words; looks more often than `expect` does."""
        shown = self.page.locator("#progress-row:not([hidden]) #status")

        async def is_there() -> bool:
            return any(words in text.replace("\u00a0", " ") for text in await shown.all_text_contents())

        try:
            await until(is_there, timeout_s)
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in the status: {await shown.all_text_contents()}") from None

    async def picture(self, step: int) -> None:
        """Wait until the preview of a step is shown."""
        await expect(self.page.locator("#badge")).to_have_text(f"Preview · step {step}")

    async def pictures(self) -> int:
        """How many pictures can be looked back at."""
        return int(await self.page.get_attribute("#scrub", "max") or 0) + 1

    async def saved_pictures(self) -> int:
        """How many previews the browser has saved."""
        return len([step for _, step in await self.page.evaluate(SAVED_IMAGES) if step >= 0])

    async def step(self, number: int) -> None:
        """Wait until so many steps are completed."""

        async def is_there() -> bool:
            found = re.match(r"Step (\d+) of", await self.page.locator("#status").text_content() or "")
            return found is not None and int(found[1]) >= number

        await until(is_there)

    async def look(self, state: str) -> None:
        """Look at a state of the page at both widths, in light and dark: take screenshots, and let axe find nothing."""
        await self._add_axe()
        for width, height in HEIGHTS.items():
            await self.page.set_viewport_size({"width": width, "height": height})
            for theme in ("light", "dark"):
                await self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                await self._shot(f"{state}-{width}-{theme}")
                found = await self._findings(theme)
                assert found == [], f"{state}, {width} px, {theme}: {found}"
        await self.page.set_viewport_size(self.viewport)
        await self.page.emulate_media(color_scheme="null", reduced_motion="null")

    async def _shot(self, name: str) -> None:
        folder = Path("out/screens")
        folder.mkdir(parents=True, exist_ok=True)
        await self.page.evaluate("window.scrollTo(0, 0)")
        await self.page.screenshot(path=folder / f"{name}.png", full_page=True, animations="disabled")

    async def _add_axe(self) -> None:
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate((install_modules() / "axe-core" / "axe.min.js").read_text())

    async def _findings(self, theme: str) -> list[str]:
        # The dark page differs from the light one in its colors only.
        rules = {"runOnly": ["color-contrast", "link-in-text-block"]} if theme == "dark" else {}
        options = {"resultTypes": ["violations"]} | rules
        found = await self.page.evaluate("options => axe.run(document, options)", options)
        return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found["violations"]]


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, width: int = WIDE, theme: str = "light", **options: Any
) -> AsyncIterator[Visit]:
    """Visit the page; afterwards nothing may have gone wrong in it, and no other host may have been asked."""
    viewport = {"width": width, "height": HEIGHTS[width]}
    context = await browser.new_context(viewport=viewport, color_scheme=theme, accept_downloads=True, **options)
    visit = Visit(context, url, viewport)
    try:
        visit.page = await visit.tab()
        yield visit
    finally:
        await context.close()
    assert visit.problems == []
    foreign = [request.url for request in visit.requests if not request.url.startswith((url, "blob:", "data:"))]
    assert foreign == []


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.03)
