"""While a job waits, the page shows the photo in a style at hand, and says so."""

from __future__ import annotations

from pathlib import Path

from clipstyler_client import AsyncClient
from playwright.async_api import expect

from tests.browser.site import CAT, Site, Visit


async def test_a_draft_is_seen_until_the_first_preview_and_labeled(site: Site, visit: Visit, tmp_path: Path):
    gate = tmp_path / "gate"
    async with AsyncClient(f"127.0.0.1:{site.settings['port']}") as client:
        before = await client.jobs.create(CAT.read_bytes(), f"hold={gate} at=1 x", steps=1)
        try:
            await visit.stylize("stained glass", steps=3)
            badge, over = visit.page.locator("#badge"), visit.page.locator("#over")
            await expect(badge).to_have_text("Draft in the style “stained glass”")
            await expect(over).to_have_attribute(
                "alt", "The photo in the style stained glass, until there is a preview"
            )
            await visit.status("One job is before yours")
            await expect(visit.page.locator("#scrub-row")).to_be_hidden()
            await expect(visit.page.locator("#keep")).to_be_hidden()
            await visit.look("draft")

            await visit.page.reload()  # it is there again, as the job is
            await expect(badge).to_have_text("Draft in the style “stained glass”")
        finally:
            gate.touch()
        await client.jobs.watch(before.name).result()
    await visit.status("Done")
    await expect(badge).to_be_hidden()


async def test_a_draft_goes_with_a_job_that_is_cancelled(site: Site, visit: Visit, tmp_path: Path):
    gate = tmp_path / "gate"
    async with AsyncClient(f"127.0.0.1:{site.settings['port']}") as client:
        await client.jobs.create(CAT.read_bytes(), f"hold={gate} at=1 x", steps=1)
        try:
            await visit.stylize("gold", steps=3)
            await expect(visit.page.locator("#badge")).to_have_text("Draft in the style “gold”")
            await visit.page.click("#cancel")
            await visit.status("Cancelled before the first step.")
            await expect(visit.page.locator("#badge")).to_be_hidden()
            await expect(visit.page.locator("#over")).to_have_attribute("alt", "The photo")
        finally:
            gate.touch()
