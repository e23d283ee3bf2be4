"""What goes wrong is said in words, beside what caused it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from tests.browser.site import CAT, Site, Visit, visiting
from tests.service.harness import eventually, noise_photo

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NO_ANSWER = {"content-type": "application/grpc-web+proto", "grpc-status": "4"}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def visitor(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """A visitor who makes one mistake after the other."""
    async with visiting(browser, site.url) as visit:
        yield visit


async def test_what_is_missing_is_said_beside_it(visitor: Visit):
    await visitor.page.click("#submit")
    await expect(visitor.page.locator("#photo-error")).to_have_text("Choose a photo first.")
    await expect(visitor.page.locator("#text-error")).to_have_text(
        "Say what it should look like, or choose a look below."
    )
    await expect(visitor.page.locator("#style-text")).to_be_focused()


async def test_a_wrong_file(visitor: Visit):
    await visitor.choose({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"})
    await expect(visitor.page.locator("#photo-error")).to_contain_text("notes.txt is not an image.")
    await expect(visitor.page.locator("#drop")).to_be_visible()
    await visitor.look("wrong-file")


async def test_a_broken_photo_is_refused_by_the_server_in_words(visitor: Visit):
    broken = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": CAT.read_bytes()[:200]}
    await visitor.stylize("fire", broken)
    await expect(visitor.page.locator("#photo-error")).to_be_visible()
    await expect(visitor.page.locator("#photo-note")).to_contain_text("cannot show broken.jpg")


async def test_every_bad_field_is_named_beside_it(visitor: Visit):
    page = visitor.page
    await visitor.choose()
    await visitor.fill("fire", size=4000, steps=0)
    await page.fill("#seed", "7 dwarfs")
    await page.click("#submit")
    await expect(page.locator("#size-error")).to_have_text("From 64 to 1024.")
    await expect(page.locator("#steps-error")).to_have_text("From 1 to 500.")
    await expect(page.locator("#seed-error")).to_have_text("A seed is a whole number, or nothing.")
    await visitor.look("bad-fields")
    # What only the server can know: the two texts are the same.
    await visitor.fill("a Photo", size=64, steps=2)
    await page.fill("#seed", "")
    await page.fill("#source-text", "a Photo")
    await page.click("#submit")
    await expect(page.locator("#form .error:not([hidden])")).to_have_count(1)
    await expect(page.locator("[aria-invalid]")).to_have_count(1)


async def test_a_full_queue(narrow_site: Site, visit_to, tmp_path: Path):
    visit = await visit_to(narrow_site.url)
    held = tmp_path / "go"
    await visit.stylize(f"first at=1 hold={held}", steps=2)
    await visit.status("Looking at")
    await visit.fill("second")
    await visit.page.click("#submit")
    await visit.status("One job is before yours")
    await expect(visit.page.locator("#badge")).to_be_hidden()  # that of the first job was shown before
    await visit.fill("third")
    await visit.page.click("#submit")
    await expect(visit.page.locator("#form-error")).to_contain_text("The queue is full. Try again in")
    await visit.status("One job is before yours")  # what was shown is shown again
    await visit.look("full-queue")
    held.touch()
    await visit.status("Done")
    await visit.page.click("#submit")
    await visit.status("Done")
    await expect(visit.page.locator("#jobs li.is-succeeded")).to_have_count(3)


async def test_a_photo_over_the_limits_is_made_smaller(narrow_site: Site, visit_to):
    visit = await visit_to(narrow_site.url)
    await expect(visit.page.locator("#server")).to_contain_text("scripted")
    large = {"name": "large.png", "mimeType": "image/png", "buffer": noise_photo(700, 500)}
    await visit.stylize("fire", large, steps=2)
    await visit.status("Done")
    assert len(large["buffer"]) > 1_000_000


async def test_a_job_that_fails(visit: Visit):
    await visit.stylize("fire fail=1", steps=3)
    await expect(visit.page.locator("#run-error")).to_be_visible()
    await visit.look("failed")
    await visit.fill("fire")
    await visit.page.click("#retry")
    await visit.status("Done")


async def test_no_server(fragile_site: Site, visit_to):
    site = fragile_site
    visit = await visit_to(site.url)
    await expect(visit.page.locator("#server")).to_contain_text("scripted")
    await site.stop_server()
    await visit.choose()
    await visit.fill("fire", steps=2)
    await visit.page.click("#submit")
    await visit.status("Sending the photo")
    await expect(visit.page.locator("#form-error")).to_contain_text("The server cannot be reached.", timeout=20_000)
    await site.start_server()
    await visit.page.click("#submit")
    await visit.status("Done")
    await expect(visit.page.locator("#jobs li")).to_have_count(1)


async def test_a_request_without_an_answer_is_repeated_under_its_id_and_no_other_one_is(site: Site, visit_to):
    visit = await visit_to(site.url)
    sent: list[bytes] = []

    async def lose(route: Route) -> None:
        sent.append(UUID.search(route.request.post_data_buffer)[0])
        await route.fulfill(headers=NO_ANSWER)

    await visit.page.route("**/CreateStylization", lose)
    data = CAT.read_bytes()
    for number, last_byte in enumerate((data[-1:], data[-1:], b"\0")):
        if number != 1:  # the second request repeats the first
            await visit.choose({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data[:-1] + last_byte})
            await visit.fill("fire", steps=2)
        await visit.page.click("#submit")
        await eventually(lambda until=number + 1: len(sent) == until)
        await expect(visit.page.locator("#submit:not([aria-disabled=true])")).to_be_attached()
    first, again, other = sent
    assert again == first
    assert other != first
