"""What a visitor can do on the way and afterwards: stop, cancel, try again, look back."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from PIL import Image
from playwright.async_api import Page, Route, expect

from tests.browser.site import EXAMPLES, PATIENCE_S, Visit, until
from tests.service.harness import photo
from tests.service.turns import Turns


async def steps_begun(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


async def test_cancelling_stops_the_device_within_a_step(visit: Visit, tmp_path: Path):
    trace = tmp_path / "trace"
    await visit.stylize(f"fire step=0.2 trace={trace}", steps=100)
    await visit.step(2)
    async with visit.page.expect_request_finished(lambda request: "CancelStylization" in request.url):
        await visit.page.click("#cancel")
    begun = len(await steps_begun(trace))
    await visit.status("Cancelled at step")

    async def is_closed() -> bool:
        return (await steps_begun(trace))[-1] == "closed"

    await until(is_closed)
    assert len(await steps_begun(trace)) <= begun + 2  # one in flight, and "closed"
    await expect(visit.page.locator("#save-image")).to_be_hidden()
    await expect(visit.page.locator("#jobs li")).to_contain_text("cancelled")


async def test_stopping_here_keeps_the_latest_preview_and_says_what_it_is(visit: Visit):
    page = visit.page
    await visit.stylize("fire step=0.1", steps=400, seed=5)  # longer than anything takes here
    await visit.step(7)
    await page.click("#keep")
    await visit.status("Stopped at step")
    await visit.status("the latest preview, not a full result")
    await expect(page.locator("#jobs li.is-kept")).to_contain_text("stopped at step")
    await expect(page.locator("#save-image")).to_have_text("Download this preview")
    async with page.expect_download() as download:
        await page.click("#save-image")
    saved = await download.value
    assert saved.suggested_filename == "fire-step-0-1-5-preview.jpg"
    assert Image.open(await saved.path()).format == "JPEG"


async def test_the_queue_is_shown_and_all_of_mine_are_cancelled(visit: Visit, tmp_path: Path):
    held = tmp_path / "never"
    await visit.stylize(f"first hold={held} at=1", steps=5)
    await visit.status("Looking at")
    await expect(visit.page.locator("#keep")).to_be_visible()  # the start is a preview
    await visit.fill("second")
    await visit.page.click("#submit")
    await visit.status("One job is before yours")
    await expect(visit.page.locator("#keep")).to_be_hidden()  # there is nothing to keep
    await expect(visit.page.locator("#jobs li")).to_have_count(2)
    await visit.page.click("#cancel-all")
    await expect(visit.page.locator("#jobs li.is-cancelled")).to_have_count(1)
    await visit.status("Cancelled before the first step")
    held.touch()  # a step that waits cannot be interrupted
    await expect(visit.page.locator("#jobs li.is-cancelled")).to_have_count(2)
    await expect(visit.page.locator("#cancel-all")).to_be_hidden()


async def test_another_seed_and_another_photo_stand_beside_the_first(visit: Visit):
    page = visit.page
    await visit.stylize("fire", steps=4, seed=5)
    await visit.status("Done")
    await page.click("#another-seed")
    await expect(page.locator("#jobs li")).to_have_count(2)
    await visit.status("Done")
    await expect(page.locator("#beside-caption")).to_have_text("fire · seed 5")
    (seed,) = re.findall(r"seed (\d+)", await page.locator("#status").text_content() or "")
    assert seed != "5"
    async with page.expect_file_chooser() as chooser:
        await page.click("#another-photo")
    await (await chooser.value).set_files(EXAMPLES / "coffee.jpg")
    await expect(page.locator("#jobs li")).to_have_count(3)
    await visit.status(f"Done · 4 steps · seed {seed}")
    await expect(page.locator("#beside-caption")).to_have_text(f"fire · seed {seed}")
    await page.click("#beside-close")
    await expect(page.locator("#beside")).to_be_hidden()


async def test_history_is_searched_opened_and_deleted(visit: Visit):
    page = visit.page
    for text in ("a red sea", "a green forest"):
        await visit.stylize(text, steps=2)
        await visit.status("Done")
    await page.fill("#search", "SEA")
    await expect(page.locator("#jobs li")).to_have_count(1)
    await page.click("#jobs .job")
    await expect(page.locator("#style-text")).to_have_value("a red sea")
    await visit.status("Done")
    await page.click("#jobs .quiet")
    await expect(page.locator("#jobs .quiet")).to_have_text("Really delete")
    await page.click("#jobs .quiet")
    await expect(page.locator("#history-empty:not([hidden])")).to_have_text("Nothing is called “sea”.")
    await page.fill("#search", "")
    await expect(page.locator("#jobs li")).to_have_count(1)
    await page.reload()
    await expect(page.locator("#jobs li")).to_have_count(1)


async def test_a_photo_is_pasted_and_dropped(visit: Visit):
    page = visit.page
    data = list(photo())
    send = """([kind, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, {type: "image/png"}));
      const options = {clipboardData: transfer, dataTransfer: transfer, bubbles: true, cancelable: true};
      const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
      document.body.dispatchEvent(event);
    }"""
    for kind in ("paste", "drop"):
        await page.evaluate(send, [kind, data])
        await expect(page.locator("#announcer")).to_have_text(f"{kind}.png is chosen.")
    await expect(page.locator("#frame")).to_be_visible()


def a_photo(name: str, width: int, height: int) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": photo(width, height)}


async def shape(page: Page) -> list[int]:
    """Width and height of the photo that is shown."""
    return await page.evaluate("""async () => {
      const image = document.getElementById("before");
      await image.decode();
      return [image.naturalWidth, image.naturalHeight];
    }""")


async def test_a_photo_that_is_chosen_while_a_request_is_sent_stays(visit: Visit):
    page, is_asked, may_go_on = visit.page, asyncio.Event(), asyncio.Event()

    async def later(route: Route) -> None:
        is_asked.set()
        await may_go_on.wait()
        await route.continue_()

    await page.route("**/CreateStylization", later)
    await visit.stylize("fire", a_photo("wide.png", 96, 64), steps=2)
    await asyncio.wait_for(is_asked.wait(), PATIENCE_S)
    await visit.choose(a_photo("tall.png", 64, 96))
    may_go_on.set()
    await expect(page.locator("#jobs li.is-succeeded")).to_have_count(1)  # it is done all the same
    assert await shape(page) == [64, 96]
    await expect(page.locator("#change-photo")).to_be_visible()
    await expect(page.locator("#another-seed")).to_be_hidden()
    await page.click("#jobs .job")
    await visit.status("Done")
    assert await shape(page) == [96, 64]


async def test_the_photo_that_was_chosen_last_is_shown_however_long_an_earlier_one_takes_to_read(visit: Visit):
    page = visit.page
    await page.evaluate("""() => {
      const read = window.createImageBitmap;
      window.createImageBitmap = async (...given) => {
        window.createImageBitmap = read;
        await new Promise((resolve) => (window.goOn = resolve));
        return read(...given);
      };
    }""")
    await page.set_input_files("#file", a_photo("large.png", 96, 64))
    await page.wait_for_function("'goOn' in window")
    await visit.choose(a_photo("small.png", 64, 96))
    await page.evaluate("window.goOn()")
    await page.wait_for_timeout(300)
    await expect(page.locator("#announcer")).to_have_text("small.png is chosen.")
    assert await shape(page) == [64, 96]


async def test_text_is_pasted_and_dropped_into_the_style(visit: Visit):
    page = visit.page
    send = """([kind, bytes]) => {
      const transfer = new DataTransfer();
      transfer.setData("text/plain", "gold");
      if (bytes) {
        transfer.setData("text/html", "<b>gold</b>");
        transfer.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
      }
      const options = {clipboardData: transfer, dataTransfer: transfer, bubbles: true, cancelable: true};
      const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
      return document.getElementById("style-text").dispatchEvent(event);
    }"""
    for kind in ("paste", "dragover", "drop"):
        assert await page.evaluate(send, [kind, None]), kind  # what the browser does itself is not prevented
    await expect(page.locator("body")).not_to_have_class("dropping")
    # A table or document: its text, and a picture of it.
    assert await page.evaluate(send, ["paste", list(photo())])
    await page.wait_for_timeout(300)
    await expect(page.locator("#frame")).to_be_hidden()


async def test_suggestions_follow_what_is_typed(visit: Visit):
    page = visit.page
    await page.fill("#style-text", "stained")
    await expect(page.locator("#looks .chip").first).to_have_text("stained glass")
    await page.click("#looks .chip >> nth=0")
    await expect(page.locator("#style-text")).to_have_value("stained glass")
    await page.click("#more-looks")
    await expect(page.locator("#looks .chip")).to_have_count(88)


async def test_what_the_encoders_say_of_a_text_stands_beside_that_text_only(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)
    hint, text = page.locator("#text-hint"), f"fire warning=TEXT_UNFAMILIAR turns={turns.path}"
    await visit.stylize(text, steps=4)
    turns.allow(1)
    await visit.step(1)
    await expect(hint).to_have_text("Something to know.")
    await page.fill("#style-text", "gold")
    turns.allow(3)
    await visit.step(3)
    await expect(hint).to_be_hidden()
    await page.fill("#style-text", text)
    turns.allow(4)
    await visit.status("Done")
    await expect(hint).to_have_text("Something to know.")


async def test_a_job_that_is_not_shown_is_finished_too(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)
    await visit.stylize(f"first turns={turns.path}", steps=15)
    turns.allow(2)
    await visit.step(2)
    await visit.fill("second", steps=2)
    await page.click("#submit")
    await expect(page.locator("#jobs li")).to_have_count(2)
    await page.evaluate("document.querySelectorAll('#jobs .job')[1].dataset.pressed = 'still'")
    turns.allow(15)
    await visit.status("Done · 2 steps")
    await expect(page.locator("#jobs li.is-succeeded")).to_have_count(2)
    # The same element: a press that began before the list changed ends on it.
    await expect(page.locator("#jobs .job").nth(1)).to_have_attribute("data-pressed", "still")
    await page.click("#jobs .job >> nth=1")
    await visit.status("Done · 15 steps")
    async with page.expect_download() as download:
        await page.click("#save-settings")
    assert (
        json.loads((await (await download.value).path()).read_text())["spec"]["styleText"]
        == f"first turns={turns.path}"
    )
