"""The laboratory's page in Chromium, from a file: nothing is loaded, and it fits a wide window and a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from clipstyler_lab.provenance import Provenance
from clipstyler_lab.report.page import page
from clipstyler_lab.report.words import Report
from clipstyler_lab.section import Chart, Point, Section, Sheet, Table, Tile
from PIL import Image
from playwright.async_api import Browser

from tests.browser.site import NARROW, WIDE

COLUMNS = tuple(f"measure {i}" for i in range(8))


def written(folder: Path) -> Path:
    picture = folder / "tile.png"
    Image.effect_mandelbrot((160, 120), (-2, -1, 1, 1), 60).convert("RGB").save(picture)
    tiles = tuple(Tile(picture, "patch-CLIP 0.612") for _ in COLUMNS)
    section = Section(
        "Ablation",
        "What does each part bring?",
        (
            Table("Means", ("variant", *COLUMNS), (("without <b>patch</b> loss", *(0.25,) * 8),)),
            Sheet("cat, seed 3", COLUMNS, (("fire", tiles), ("ice", (*tiles[:7], None)))),
            Chart(
                "steps", "seconds", "patch-CLIP", tuple(Point(2.0**i, 0.2 + 0.05 * i, str(10 * i)) for i in range(4))
            ),
        ),
        ("The claim holds here.",),
        made=1,
        wanted=2,
    )
    provenance = Provenance(
        "pocket (pocket abc)", "threshold 0.03", "a processor", "1234567", "64 px", "torch 2", "2026-11-26"
    )
    report = folder / "index.html"
    report.write_text(page(Report(provenance, ("ab",), {"zero-shot": section})))
    return report


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_shows_everything_at_any_width(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    report = written(tmp_path)
    opened = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests: list[str] = []
    problems: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text))
    await opened.goto(report.as_uri())
    sizes = await opened.eval_on_selector_all("img", "all => all.map(i => { i.loading = 'eager'; return i.alt })")
    assert len(sizes) == 15
    await opened.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth === 160)")
    assert await opened.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll by themselves
    assert await opened.locator("tbody th").first.text_content() == "without <b>patch</b> loss"
    box = await opened.locator("svg").bounding_box()
    assert box is not None
    assert 200 < box["width"] <= width
    ink, paper = await opened.evaluate(
        "['color', 'backgroundColor'].map(name => Number(getComputedStyle(document.body)[name].match(/\\d+/)[0]))"
    )
    assert (ink < paper) == (scheme == "light")
    assert problems == []
    assert [url for url in requests if not url.startswith(("data:", report.as_uri()))] == []
    await opened.close()
