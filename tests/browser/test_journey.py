"""From a photo to a picture: what a visitor sees first, on the way, and at the end."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, expect

from tests.browser.site import CAT, FIRST_PREVIEW, Site, Visit, visiting
from tests.service.turns import Turns

# Notes when the picture changes, from the page itself.
WATCH_PICTURE = """() => {
  window.changes = [];
  const image = document.getElementById("over");
  const note = () => window.changes.push([performance.now(), image.src]);
  new MutationObserver(note).observe(image, {attributes: true, attributeFilter: ["src"]});
}"""
PIXELS = """async (id) => {
  const image = document.getElementById(id);
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 16;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, 16, 16);
  return [...context.getImageData(0, 0, 16, 16).data].join();
}"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def visitor(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """A visitor who stays; those who need an empty history come anew."""
    async with visiting(browser, site.url) as visit:
        yield visit


async def test_the_photo_is_seen_at_once_and_the_first_preview_soon(visitor: Visit):
    took_ms = []
    for _ in range(5):  # one of them has the processors to itself
        await visitor.choose()
        await expect(visitor.page.locator("#over")).to_have_attribute("alt", "The photo")
        await visitor.fill("fire step=0.05", steps=4)
        took_ms.append(await visitor.page.evaluate(FIRST_PREVIEW))
        await visitor.status("Done")
        if took_ms[-1] < 1000:
            return
    raise AssertionError(f"the first preview took {took_ms} ms")


async def test_the_picture_changes_until_it_is_done(visitor: Visit, tmp_path: Path):
    page, turns = visitor.page, Turns(tmp_path)
    await visitor.choose()
    await page.evaluate(WATCH_PICTURE)
    await visitor.fill(f"stained glass turns={turns.path}", steps=8, seed=7)
    await page.click("#submit")
    shares = []
    for step in range(1, 8):  # each picture is seen before the next one is made
        turns.allow(step)
        await visitor.picture(step)
        await visitor.step(step)
        shares.append(await page.evaluate("document.getElementById('progress').value"))
    turns.allow(8)
    await visitor.status("Done")
    changes = await page.evaluate("window.changes")
    assert len({source for _, source in changes}) >= 8  # of seven steps, and the result
    assert len({time for time, _ in changes}) == len(changes)
    assert shares == sorted(set(shares))

    pictures = set()
    count = await visitor.pictures()
    for index in range(count):
        await page.fill("#scrub", str(index))
        pictures.add(await page.evaluate(PIXELS, "over"))
    assert len(pictures) == count >= 8
    assert await page.evaluate(PIXELS, "before") not in pictures
    await expect(page.locator("#losses svg")).to_have_count(5)
    await expect(page.locator("#losses .loss-value").first).to_have_text("12.5")  # of the scripted workload


async def test_picture_settings_and_link_of_a_result(visitor: Visit):
    page = visitor.page
    await visitor.stylize("a quiet [b]sea[/b] <i>", steps=5, seed=9007199254740993)
    await visitor.status("Done · 5 steps · seed 9007199254740993")
    async with page.expect_download() as download:
        await page.click("#save-image")
    saved = await download.value
    assert saved.suggested_filename == "a-quiet-b-sea-b-i-9007199254740993.png"
    picture = Image.open(await saved.path())
    photo = Image.open(CAT).resize(picture.size)
    assert picture.format == "PNG"
    assert np.abs(np.asarray(picture, int) - np.asarray(photo, int)).mean() > 20
    async with page.expect_download() as download:
        await page.click("#save-settings")
    described = json.loads((await (await download.value).path()).read_text())
    assert described["spec"]["styleText"] == "a quiet [b]sea[/b] <i>"
    assert described["spec"]["options"]["seed"] == "9007199254740993"
    assert "seed=9007199254740993" in page.url
    assert re.search(r"job=[0-9a-f-]{36}", page.url)


async def test_the_same_settings_repeat_the_picture(visit: Visit):
    await visit.stylize("fire", steps=3, seed=11)
    await visit.status("Done")
    first = await visit.page.evaluate(PIXELS, "over")
    await visit.page.click("#submit")
    await expect(visit.page.locator("#jobs li")).to_have_count(2)
    await visit.status("Done")
    assert await visit.page.evaluate(PIXELS, "over") == first


async def test_without_previews_only_the_result_is_shown(visit: Visit):
    await visit.page.uncheck("#previews")
    await visit.choose()
    await visit.page.evaluate(WATCH_PICTURE)
    await visit.fill("fire step=0.02", steps=20)
    await visit.page.click("#submit")
    await visit.status("Done")
    assert len(await visit.page.evaluate("window.changes")) == 1
    await expect(visit.page.locator("#scrub-row")).to_be_hidden()


async def test_before_and_after_by_keyboard(visitor: Visit):
    await visitor.stylize("fire step=0.05", steps=10)
    await visitor.status("Done")
    page = visitor.page
    await page.focus("#compare")
    await expect(page.locator("#compare")).to_have_attribute("aria-valuetext", "After")
    for _ in range(3):
        await page.keyboard.press("ArrowRight")
    clip = "getComputedStyle(document.getElementById('before')).clipPath"
    assert "97%" in await page.evaluate(clip)
    await page.keyboard.press("End")
    await expect(page.locator("#compare")).to_have_attribute("aria-valuetext", "Before")
    await page.focus("#scrub")
    await page.keyboard.press("Home")
    # A page that is slow for a moment is not sent every preview, perhaps not the one before the first step.
    await expect(page.locator("#scrub")).to_have_value("0")
    await expect(page.locator("#scrub-value")).to_have_text(re.compile(r"^(Start|Step \d)$"))


async def test_the_time_left_never_climbs_by_itself(visitor: Visit, tmp_path: Path):
    turns = Turns(tmp_path)
    await visitor.stylize(f"fire step=0.2 turns={turns.path}", steps=40)
    turns.allow(3)
    await visitor.step(3)
    shown = []
    for _ in range(25):  # a stall: the server reports nothing
        words = await visitor.page.locator("#status").text_content() or ""
        shown += [int(number) for number in re.findall(r"about (\d+) s", words)]
        await visitor.page.wait_for_timeout(100)
    assert len(shown) > 10
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] < shown[0]
    await visitor.page.click("#cancel")
    await visitor.status("Cancelled")
