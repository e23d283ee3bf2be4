"""Take the pictures of the documentation: `python -m tests.browser.screens` (leaves out/screens/real-*.png)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser, async_playwright, expect

from tests.browser.executable import chromium
from tests.browser.site import EXAMPLES, FLAGS, NARROW, WIDE, Visit, serving, visiting


async def main() -> None:
    with TemporaryDirectory() as folder:
        settings = {"encoder_sets": "pocket", "evaluator": True}
        async with serving(Path(folder), "clipstyler_server", **settings) as site, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            await _wide(browser, site.url)
            await _narrow(browser, site.url)


async def _wide(browser: Browser, url: str) -> None:
    async with visiting(browser, url, WIDE) as visit:
        await visit.stylize("stained glass", EXAMPLES / "astronaut.jpg", seed=3)
        await _at(visit, 24)
        await _shot(visit, "real-running")
        await visit.status("Done", timeout_s=240)
        await visit.stylize("starry night", EXAMPLES / "coffee.jpg", seed=3)
        await visit.status("Done", timeout_s=240)
        await visit.page.fill("#compare", "45")
        await _shot(visit, "real-done")
        await visit.page.click("#another-seed")
        await expect(visit.page.locator("#jobs li")).to_have_count(3)
        await visit.status("Done", timeout_s=240)
        await visit.page.emulate_media(color_scheme="dark")
        await _shot(visit, "real-beside-dark")


async def _narrow(browser: Browser, url: str) -> None:
    async with visiting(browser, url, NARROW, "dark") as visit:
        await visit.stylize("ukiyo-e", EXAMPLES / "cat.jpg", seed=3)
        await _at(visit, 30)
        await _shot(visit, "real-phone")


async def _at(visit: Visit, step: int) -> None:
    await visit.status("Step", timeout_s=120)
    while int((await visit.page.locator("#status").text_content() or "Step 0").split()[1]) < step:
        await asyncio.sleep(0.1)


async def _shot(visit: Visit, name: str) -> None:
    Path("out/screens").mkdir(parents=True, exist_ok=True)
    await visit.page.evaluate("window.scrollTo(0, 0)")
    await visit.page.wait_for_timeout(600)
    await visit.page.screenshot(path=f"out/screens/{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
