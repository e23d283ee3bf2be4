"""What is done in one tab, or on one device, holds in the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Page, Route, expect

from tests.browser.site import PATIENCE_S, SAVED_IMAGES, Site, Visit, until
from tests.service.harness import photo
from tests.service.turns import Turns


async def delete(page: Page) -> None:
    await page.click("#jobs .quiet")
    await expect(page.locator("#jobs .quiet")).to_have_text("Really delete")
    await page.click("#jobs .quiet")
    await expect(page.locator("#jobs li")).to_have_count(0)


async def test_a_job_that_is_deleted_in_one_tab_does_not_come_back_from_another(visit: Visit):
    await visit.stylize("fire", steps=2)
    await visit.status("Done")
    await delete(await visit.tab())
    await expect(visit.page.locator("#jobs li")).to_have_count(0)
    await visit.choose()  # leaves the job that was shown
    await visit.stylize("gold", steps=2)
    await visit.status("Done")
    await expect(visit.page.locator("#jobs li")).to_have_count(1)
    await expect(visit.page.locator("#jobs .job-text")).to_have_text("gold")


async def test_more_tabs_than_a_browser_opens_connections(visit: Visit, tmp_path: Path):
    turns = Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path}", steps=5)
    turns.allow(2)
    await visit.step(2)
    tabs = [await visit.tab() for _ in range(5)]  # each shows the job
    for tab in tabs:
        await expect(tab.locator("#server")).to_contain_text("scripted")
    await visit.page.wait_for_timeout(1000)  # for those that watch it
    tabs.append(await visit.tab())
    await expect(tabs[-1].locator("#server")).to_contain_text("scripted")
    for tab in tabs:
        await expect(tab.locator("#status")).to_contain_text("Step 2 of 5")
    turns.allow(5)
    for tab in tabs:
        await expect(tab.locator("#status")).to_contain_text("Done")
        await expect(tab.locator("#scrub-value")).to_have_text("Result")


async def test_nothing_is_stored_of_a_job_that_is_deleted_while_another_tab_fetches_its_result(
    visit: Visit, tmp_path: Path
):
    turns, is_asked, may_go_on = Turns(tmp_path), asyncio.Event(), asyncio.Event()

    async def later(route: Route) -> None:
        response = await route.fetch()
        is_asked.set()
        await may_go_on.wait()
        await route.fulfill(response=response)

    await visit.stylize(f"fire turns={turns.path}", steps=2)
    second = await visit.tab("#text=gold")  # shows another style, and looks after the job in the background
    await second.route("**/GetStylizationImage", later)
    await expect(second.locator("#jobs li")).to_have_count(1)
    await visit.page.goto("about:blank")  # now nobody watches it
    turns.allow(2)
    await asyncio.wait_for(is_asked.wait(), PATIENCE_S)
    await visit.page.goto(f"{visit.url}/#text=red")
    await expect(visit.page.locator("#jobs li.is-succeeded")).to_have_count(1)
    await delete(visit.page)
    async with second.expect_event("requestfinished", lambda request: "GetStylizationImage" in request.url):
        may_go_on.set()
    await second.wait_for_timeout(500)  # a thumbnail is drawn, too
    assert await visit.page.evaluate(SAVED_IMAGES) == []


async def test_a_picture_that_is_kept_in_one_tab_is_kept_in_all(visit: Visit, tmp_path: Path):
    turns = Turns(tmp_path)
    await visit.stylize(f"fire turns={turns.path}", steps=20, seed=5)
    turns.allow(3)
    await visit.picture(3)
    second = await visit.tab()
    await expect(second.locator("#status")).to_contain_text("Step 3 of 20")
    await second.click("#keep")
    for page in (second, visit.page):
        await expect(page.locator("#status")).to_contain_text("Stopped at step 3")
        await expect(page.locator("#jobs li.is-kept")).to_contain_text("stopped at step 3")
    await visit.page.reload()
    await visit.status("Stopped at step 3")


async def test_a_photo_that_the_browser_cannot_show_is_stylized_on_all_devices(visit: Visit, visit_to):
    tiff = {"name": "photo.tif", "mimeType": "", "buffer": photo(96, 64, "TIFF")}
    page = visit.page
    await visit.stylize("fire", tiff, steps=3, seed=3)
    await expect(page.locator("#photo-note")).to_have_text("This browser cannot show the photo.")
    await visit.status("Done · 3 steps")
    await visit.look("unshown-photo")

    async def has_the_result(page: Page) -> None:
        await expect(page.locator("#scrub-value")).to_have_text("Result")
        await expect(page.locator("#over")).to_be_visible()
        await expect(page.locator("#compare")).to_be_disabled()  # there is no "before"

    await has_the_result(page)
    await page.reload()
    await visit.status("Done · 3 steps")
    await has_the_result(page)
    other = await visit_to(visit.url)
    await other.page.goto(page.url)
    await other.status("Done · 3 steps · seed 3")
    await has_the_result(other.page)
    await other.page.click("#another-seed")
    await expect(other.page.locator("#jobs li.is-succeeded")).to_have_count(2)


async def test_a_link_has_its_encoders(narrow_site: Site, visit_to):
    visit = await visit_to(narrow_site.url)
    page = visit.page
    await page.goto(f"{narrow_site.url}/#text=gold&encoderSet=other")
    await page.reload()
    await visit.choose()
    await expect(page.locator("#server")).to_contain_text("scripted")
    await expect(page.locator("#encoder-set")).to_have_value("other")
    await visit.fill("gold", steps=2)
    await page.click("#submit")
    await visit.status("Done · 2 steps")
    link = page.url

    async def has_encoders() -> bool:
        return "encoderSet=other" in page.url

    await until(has_encoders)
    await page.evaluate("location.hash = 'text=gold'")
    await expect(page.locator("#encoder-set")).to_have_value("scripted")
    # A link without settings has those of the job.
    second = await visit_to(narrow_site.url)
    await second.page.goto(link.split("&")[0])
    await second.status("Done · 2 steps")
    await expect(second.page.locator("#encoder-set")).to_have_value("other")


async def test_encoders_that_the_server_does_not_have_are_said_to_be_missing(visit: Visit):
    page = visit.page
    await page.goto(f"{visit.url}/#text=gold&encoderSet=elsewhere")
    await visit.choose()
    await page.click("#submit")
    await expect(page.locator("#encoder-set-error")).to_contain_text("elsewhere")
