"""A result has the size of the photo: drawn in a phase of its own, received in parts, compared and kept like others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.site import CAT, Visit
from tests.service.harness import noise_photo
from tests.service.turns import Turns

NATURAL = "[document.getElementById('over').naturalWidth, document.getElementById('over').naturalHeight]"


@pytest.fixture(scope="module")
def large() -> dict[str, object]:
    """A photo whose negative takes several messages."""
    return {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": noise_photo(2400, 1200, "JPEG")}


async def downloaded(page: Page, button: str) -> Path:
    async with page.expect_download() as download:
        await page.click(button)
    return await (await download.value).path()


async def test_the_phase_of_drawing_is_shown_in_words_and_in_the_bar(visit: Visit, tmp_path: Path):
    page = visit.page
    await visit.stylize("fire tiles=5 step=0.4", steps=2, seed=3)
    await visit.status("then drawn at full size")
    await visit.status("Drawing at full size")
    assert 0.75 < await page.evaluate("document.getElementById('progress').value") < 1
    await visit.status("Drawing at full size · about")
    await visit.look("drawing")
    await visit.status("Done · 2 steps · seed 3 · 451 × 300 px")
    assert Image.open(await downloaded(page, "#save-image")).size == Image.open(CAT).size


async def test_the_phase_is_announced_once(visit: Visit):
    await visit.choose()
    await visit.page.evaluate("""() => {
      window.spoken = [];
      const announcer = document.getElementById("announcer");
      new MutationObserver(() => window.spoken.push(announcer.textContent)).observe(announcer, {childList: true});
    }""")
    await visit.fill("fire tiles=6 step=0.1", steps=2)
    await visit.page.click("#submit")
    await visit.status("Done")
    spoken = await visit.page.evaluate("window.spoken")
    assert len([words for words in spoken if words.startswith("Drawing at full size")]) == 1


async def test_a_large_result_is_compared_kept_and_downloaded_whole(visit: Visit, large: dict[str, object]):
    page = visit.page
    await visit.stylize("fire tiles=2", large, steps=2, seed=3)
    await visit.status("Done · 2 steps · seed 3 · 2048 × 1024 px", timeout_s=60)
    settings = json.loads((await downloaded(page, "#save-settings")).read_text())
    assert settings["spec"]["options"]["outputSize"] == 2048
    saved = (await downloaded(page, "#save-image")).read_bytes()
    assert len(saved) == int(settings["result"]["image"]["sizeBytes"]) > 4 * 2**20  # several messages
    assert await page.evaluate(NATURAL) == [2048, 1024]
    await page.fill("#compare", "40")
    assert "60%" in await page.evaluate("getComputedStyle(document.getElementById('before')).clipPath")
    await expect(page.locator("#frame")).to_have_class("frame comparable")
    await page.reload()
    await visit.status("Done · 2 steps · seed 3 · 2048 × 1024 px")
    again = (await downloaded(page, "#save-image")).read_bytes()
    assert hashlib.sha256(again).digest() == hashlib.sha256(saved).digest()


async def test_the_size_of_the_result_is_chosen(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)
    turns.allow(2)
    await visit.stylize(f"fire tiles=1 turns={turns.path}", steps=2, seed=3)
    await visit.status("Done · 2 steps · seed 3 · 451 × 300 px")
    await page.fill("#output-size", "300")
    await page.click("#submit")
    await visit.status("Done · 2 steps · seed 3 · 300 × 200 px")
    assert "outputSize=300" in page.url
    await page.fill("#output-size", "900")
    turns.allow(1)  # not before the page follows it: what was warned of is not stored with a result
    await page.click("#submit")
    await visit.step(1)
    turns.allow(2)
    await visit.status("Done · 2 steps · seed 3 · 451 × 300 px")
    await expect(page.locator("#warnings")).to_have_text(
        "The photo is smaller than the size asked for, and keeps its size."
    )
    await page.fill("#output-size", "100000")
    await page.click("#submit")
    await expect(page.locator("#output-size-error")).to_have_text("From 64 to 8192.")
