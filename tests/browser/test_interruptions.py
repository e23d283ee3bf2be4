"""A job survives everything that happens to the browser, the network and the server."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.site import CAT, Network, Site, Visit, until, visiting
from tests.browser.test_journey import PIXELS
from tests.service.turns import Turns


@dataclass
class Offline:
    """A visitor whose network is cut in the middle of a job."""

    visit: Visit
    network: Network
    turns: Turns
    until: float


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def offline(browser: Browser, site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Offline]:
    """Begun before all other tests, which run while it lasts."""
    network, turns = Network(site.url), Turns(tmp_path_factory.mktemp("offline"))
    async with visiting(browser, await network.start()) as visit:
        await visit.stylize(f"fire turns={turns.path}", steps=12, seed=3)
        turns.allow(4)
        await visit.step(4)
        network.cut()
        turns.allow(12)
        until = time.monotonic() + 20
        await expect(visit.page.locator("#connection")).to_contain_text("Connection lost")
        await expect(visit.page.locator("#status")).not_to_contain_text("left")  # nobody knows
        await visit.look("offline")
        yield Offline(visit, network, turns, until)
    await network.stop()


async def restarted(browser: Browser, site: Site, turns: Turns) -> None:
    async with visiting(browser, site.url) as visit:
        await visit.stylize(f"fire turns={turns.path}", steps=8, seed=3)
        await one_by_one(visit, turns, range(1, 6))
        before = await visit.pictures()
        await site.stop_server()  # killed
        await expect(visit.page.locator("#connection")).to_contain_text("Connection lost")
        assert before >= 5
        turns.allow(8)
        await site.start_server()
        await visit.status("Done · 8 steps · seed 3")
        await expect(visit.page.locator("#connection")).to_be_hidden()
        assert await visit.pictures() > before  # those from before the restart, and the result


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def restart(
    browser: Browser, fragile_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[asyncio.Task[None]]:
    """Begun before all other tests, too."""
    running = asyncio.create_task(restarted(browser, fragile_site, Turns(tmp_path_factory.mktemp("restart"))))
    yield running
    running.cancel()
    await asyncio.wait([running])


async def one_by_one(visit: Visit, turns: Turns, steps: Iterable[int]) -> None:
    """Let a job make steps, each after the picture of the one before was seen."""
    for step in steps:
        turns.allow(step)
        await visit.picture(step)
        await visit.step(step)


async def test_a_reload_goes_on_without_a_lost_picture(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path}", steps=10, seed=3)
    await expect(page.locator("#badge")).to_have_text("Preview · start")
    await one_by_one(visit, turns, range(1, 6))
    before = await visit.pictures()
    assert before >= 6

    async def are_saved() -> bool:
        return await visit.saved_pictures() == before

    await until(are_saved)  # a server sends only the latest again
    await page.reload()
    await visit.picture(5)
    assert await visit.pictures() == before
    await one_by_one(visit, turns, range(6, 10))
    turns.allow(10)
    await visit.status("Done · 10 steps · seed 3")
    assert await visit.pictures() >= before + 5  # four more and the result; of the last step there may be one too
    points = await page.get_attribute("#losses polyline >> nth=0", "points")
    assert len(points.split()) == 10


async def test_a_second_tab_shows_the_running_job(visit: Visit, tmp_path: Path):
    turns = Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path}", steps=5)
    turns.allow(3)
    await visit.step(3)
    second = await visit.tab()  # without a link
    await expect(second.locator("#status")).to_contain_text("Step 3 of 5")
    turns.allow(5)
    await visit.status("Done")
    await expect(second.locator("#status")).to_contain_text("Done")
    assert await second.evaluate(PIXELS, "over") == await visit.page.evaluate(PIXELS, "over")


async def test_closing_the_tab_changes_nothing_for_the_job(visit: Visit, tmp_path: Path):
    trace, turns = tmp_path / "trace", Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path} trace={trace}", steps=30)
    turns.allow(3)
    await visit.step(3)
    await visit.page.close()
    turns.allow(30)

    async def is_done() -> bool:
        return trace.read_text().endswith("step 30\nclosed\n")

    await until(is_done)
    visit.page = await visit.tab()
    await visit.page.click("#jobs .job")
    await visit.status("Done · 30 steps")


ONE_SHOT = """spec => {
  const method = "/clipstyler.v1.StylizationService/Stylize";
  void fetch(method, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({spec})});
}"""


async def test_closing_the_tab_stops_a_one_shot_call_within_a_step(visit: Visit, tmp_path: Path):
    trace = tmp_path / "trace"

    def begun() -> list[str]:
        return trace.read_text().splitlines() if trace.exists() else []

    async def has_begun() -> bool:
        return len(begun()) >= 2

    async def is_closed() -> bool:
        return begun()[-1] == "closed"

    image = base64.b64encode(CAT.read_bytes()).decode()
    text = f"fire step=0.6 trace={trace}"  # longer than the way of the news to the server
    await visit.page.evaluate(ONE_SHOT, {"image": image, "styleText": text, "options": {"size": 64, "steps": 100}})
    await until(has_begun)
    await visit.page.close()
    steps = len(begun())
    await until(is_closed)
    assert len(begun()) <= steps + 3  # the one that ran, one in flight, and "closed"


async def test_a_link_opens_the_job_on_a_second_device(visit: Visit, visit_to, tmp_path: Path):
    turns = Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path}", steps=8, seed=3)
    turns.allow(3)
    await visit.step(3)
    other = await visit_to(visit.url)
    await other.page.goto(visit.page.url)
    await other.status("of 8")
    await expect(other.page.locator("#style-text")).to_have_value(f"fire turns={turns.path}")
    turns.allow(8)
    await visit.status("Done")
    await other.status("Done · 8 steps · seed 3")
    assert await other.page.evaluate(PIXELS, "over") == await visit.page.evaluate(PIXELS, "over")


async def test_back_leads_from_a_link_to_where_it_was_opened(visit: Visit):
    page = visit.page
    await visit.stylize("fire", steps=2, seed=3)
    await visit.status("Done")
    link = page.url.partition("&")[0]  # as it is in some messages: without the settings
    await page.goto("about:blank")
    await page.goto(link)
    await visit.status("Done")
    await expect(page.locator("#style-text")).to_have_value("fire")
    await page.go_back()
    assert page.url == "about:blank"


async def test_a_link_is_opened_where_nothing_can_be_stored(visit: Visit, browser: Browser):
    await visit.stylize("fire", steps=2, seed=3)
    await visit.status("Done")
    async with visiting(browser, visit.url) as other:
        await other.context.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
        await other.page.goto(visit.page.url)
        await other.page.reload()
        await other.status("Done · 2 steps · seed 3")
        await expect(other.page.locator("#compare")).to_be_enabled()  # there is the photo, too
        await expect(other.page.locator("#another-seed")).to_be_visible()


async def test_the_link_of_a_job_that_is_gone_still_has_its_settings(visit_to, site):
    gone = "#job=8c4ab1a1-5f0c-4a3e-9c57-0e0d4f6f3a11&text=gold&seed=3&patch=2"
    visit = await visit_to(site.url)
    await visit.page.goto(f"{site.url}/{gone}")
    await expect(visit.page.locator("#photo-error")).to_contain_text("Choose a photo to repeat its style.")
    await expect(visit.page.locator("#style-text")).to_have_value("gold")
    await expect(visit.page.locator("#strength-patch")).to_have_value("2")


async def test_a_restart_of_the_server_in_the_middle(restart: asyncio.Task[None]):
    await restart


async def test_offline_for_20_seconds(offline: Offline):
    await offline.visit.page.wait_for_timeout(max(0.0, 1000 * (offline.until - time.monotonic())))
    offline.network.mend()
    await expect(offline.visit.page.locator("#connection")).to_be_hidden()
    await offline.visit.status("Done · 12 steps · seed 3")
