"""The page with the bundled encoders behind it."""

from __future__ import annotations

import numpy as np
from PIL import Image
from playwright.async_api import expect

from tests.browser.site import CAT, Site
from tests.browser.test_journey import PIXELS, WATCH_PICTURE


async def test_a_real_picture(real_site: Site, visit_to):
    visit = await visit_to(real_site.url)
    page = visit.page
    await expect(page.locator("#server")).to_contain_text("pocket on cpu")
    await visit.choose()
    await page.evaluate(WATCH_PICTURE)
    await visit.fill("fire", size=96, steps=20, patches=8, seed=3)
    await page.click("#submit")
    await visit.status("Done · 20 steps · seed 3", timeout_s=60)
    changes = await page.evaluate("window.changes")
    assert len({source for _, source in changes}) >= 6
    assert changes[-2][0] - changes[0][0] > 500
    assert await page.evaluate(PIXELS, "before") != await page.evaluate(PIXELS, "over")
    async with page.expect_download() as download:
        await page.click("#save-image")
    picture = Image.open(await (await download.value).path())
    photo = Image.open(CAT).resize(picture.size)
    assert np.abs(np.asarray(picture, int) - np.asarray(photo, int)).mean() > 8
    first, last = [await page.get_attribute("#losses svg >> nth=2", "aria-label"), "at step 20"]
    assert first.startswith("Texture")
    assert first.endswith(last)


async def test_a_text_that_the_encoders_do_not_know(real_site: Site, visit_to):
    visit = await visit_to(real_site.url)
    hint = visit.page.locator("#text-hint")
    await expect(visit.page.locator("#server")).to_contain_text("pocket on cpu")
    await visit.page.fill("#style-text", "qwertz zuiop")
    await expect(hint).to_contain_text("These encoders may not know this.")
    await visit.page.fill("#style-text", "a drawing with watercolour")
    await expect(hint).to_be_hidden()
    await visit.stylize("qwertz zuiop", size=64, steps=2)
    await visit.status("Done", timeout_s=60)
    # The server's own words, which name the nearest looks, take the place of the guess.
    await expect(hint).to_contain_text("qwertz zuiop")
    await visit.look("unknown-text")
