"""The page for everybody: by keyboard, by screen reader, small, dark, without motion, and light to load."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import expect

from tests.browser.site import NARROW, Site, Visit
from tests.service.turns import Turns

FIRST_LOAD_BYTES = 150 * 1024


async def test_axe_finds_nothing_in_any_state(visit: Visit, tmp_path: Path):
    page, held = visit.page, tmp_path / "go"
    await visit.look("empty")
    await page.click("#submit")
    await visit.look("missing")
    await visit.choose()
    await page.click("#more-looks")
    await page.evaluate("document.getElementById('advanced').open = true")
    await visit.look("photo")
    await page.click("#more-looks")
    await visit.fill(f"fire step=0.03 at=9 hold={held}", steps=20)
    await page.click("#submit")
    await visit.step(8)
    await visit.look("running")
    await page.click("#keep")
    held.touch()
    await visit.status("Stopped at step")
    await visit.look("stopped")
    await visit.fill("gold", steps=2)
    await page.click("#submit")
    await visit.status("Done")
    await visit.look("done")
    await page.click("#another-seed")
    await expect(page.locator("#jobs li.is-succeeded")).to_have_count(2)
    await visit.look("beside")


async def test_everything_by_keyboard_alone(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)

    async def tab_to(element: str) -> None:
        for _ in range(60):
            if await page.evaluate("document.activeElement.id || document.activeElement.className") == element:
                return
            await page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {element}")

    await page.keyboard.press("Tab")  # to the link that skips to the style
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Enter")
    await expect(page.locator("#style-text")).to_be_focused()
    for _ in range(2):
        await page.keyboard.press("Shift+Tab")
    await tab_to("example")
    await page.keyboard.press("Enter")
    await expect(page.locator("#announcer")).to_have_text("cat.jpg is chosen.")
    await tab_to("style-text")
    await page.keyboard.type("stained gl")
    await tab_to("chip")
    await page.keyboard.press("Enter")
    await expect(page.locator("#style-text")).to_have_value("stained glass")
    await expect(page.locator("#style-text")).to_be_focused()
    await page.keyboard.type(f" turns={turns.path}")
    await page.keyboard.press("Enter")
    turns.allow(3)
    await visit.step(3)
    await tab_to("keep")
    await page.keyboard.press("Enter")
    await visit.status("Stopped at step")
    assert await page.evaluate("document.activeElement.closest('.actions') !== null")  # not lost
    await tab_to("compare")
    await page.keyboard.press("PageUp")
    await expect(page.locator("#compare")).not_to_have_value("0")
    await tab_to("save-image")
    async with page.expect_download():
        await page.keyboard.press("Enter")


async def test_a_button_that_goes_away_leaves_the_keyboard_its_place(visit: Visit, tmp_path: Path):
    page, turns = visit.page, Turns(tmp_path)

    async def press(button: str) -> None:
        await expect(page.locator(button)).to_be_visible()  # one that is not there takes no focus, and no key
        await page.focus(button)
        await page.keyboard.press("Enter")

    await press("#example")
    await expect(page.locator("#change-photo")).to_be_focused()
    await visit.fill("fire", steps=2)
    await page.click("#submit")
    await visit.status("Done")
    await visit.fill(f"fire turns={turns.path}", steps=4)
    await page.click("#submit")
    turns.allow(1)
    await visit.step(1)
    await press("#keep")
    await visit.status("Stopped at step")
    await press("#another-seed")  # all buttons are away until the server has answered
    await expect(page.locator("#copy-link")).to_be_focused()
    await expect(page.locator("#cancel")).to_be_visible()
    await press("#beside-close")
    await expect(page.locator("#copy-link")).to_be_focused()
    turns.allow(4)
    await visit.status("Done")


async def test_progress_is_announced_but_not_every_step(visit: Visit, tmp_path: Path):
    turns = Turns(tmp_path)
    await visit.choose()
    await visit.page.evaluate("""() => {
      window.spoken = [];
      const announcer = document.getElementById("announcer");
      new MutationObserver(() => window.spoken.push(announcer.textContent)).observe(announcer, {childList: true});
    }""")
    await visit.fill(f"fire turns={turns.path}", steps=40)
    await visit.page.click("#submit")
    for step in range(2, 40, 2):
        turns.allow(step)
        await visit.step(step)
    turns.allow(40)
    await visit.status("Done")
    spoken = await visit.page.evaluate("window.spoken")
    assert spoken[-1].startswith("Done")
    assert 5 <= len(spoken) <= 9  # each quarter, and what is before and after


async def test_the_first_load_is_light(browser, site: Site):
    context = await browser.new_context()
    page = await context.new_page()
    client = await context.new_cdp_session(page)
    await client.send("Network.enable")
    sizes: list[float] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await page.goto(site.url)
    await expect(page.locator("#server")).to_contain_text("scripted")
    await page.wait_for_timeout(300)
    print(f"first load: {len(sizes)} requests, {sum(sizes) / 1024:.1f} KiB")
    assert len(sizes) >= 5
    assert sum(sizes) < FIRST_LOAD_BYTES
    await context.close()


async def test_a_phone_scrolls_in_one_direction_only(site: Site, visit_to):
    visit = await visit_to(site.url, width=NARROW)
    await visit.stylize("fire with a very-long-word-" + "x" * 120, steps=2)
    await visit.status("Done")
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == NARROW


async def test_texts_that_are_read_from_right_to_left(visit: Visit):
    page, text = visit.page, "פסיפס, זהב!"
    await visit.stylize(text, steps=2, seed=7)
    await visit.status("Done")
    for place in ("#style-text", "#jobs .job-text"):
        assert await page.locator(place).evaluate("place => getComputedStyle(place).direction") == "rtl"
    await page.click("#another-seed")
    await expect(page.locator("#beside-caption")).to_have_text(f"{text} · seed 7")
    await expect(page.locator("#beside-caption bdi")).to_have_text(text)
    await expect(page.locator("#jobs li.is-succeeded")).to_have_count(2)
    await visit.look("right-to-left")


async def test_a_job_of_the_list_is_seen_on_a_phone(site: Site, visit_to):
    visit = await visit_to(site.url, width=NARROW)
    for text in ("fire", "gold"):
        await visit.stylize(text, steps=2)
        await visit.status("Done")
    await visit.page.locator("#jobs .job").last.click()
    await expect(visit.page.locator("#style-text")).to_have_value("fire")
    await expect(visit.page.locator("#frame")).to_be_in_viewport()


async def test_a_long_text_leaves_the_caption_of_the_earlier_picture_its_shape(visit: Visit):
    page = visit.page
    await visit.stylize("W" * 400, steps=2)
    await visit.status("Done")
    await page.click("#another-seed")
    await expect(page.locator("#jobs li.is-succeeded")).to_have_count(2)
    line = (await page.locator("#beside-close").bounding_box())["height"]
    caption = await page.locator("#beside-caption").bounding_box()
    assert line < 50
    assert caption["height"] < 100


async def test_reduced_motion_is_respected(site: Site, visit_to, tmp_path: Path):
    turns = Turns(tmp_path)
    visit = await visit_to(site.url, reduced_motion="reduce")
    await visit.stylize(f"fire turns={turns.path}", steps=5)
    turns.allow(3)
    await visit.step(3)
    assert await visit.page.evaluate("document.getAnimations().length") == 0
    turns.allow(5)
    await visit.status("Done")
