"""From a photo to a picture: what a visitor sees first, on the way, and at the end."""

from __future__ import annotations

from tests.browser.site import Visit


async def test_the_picture_changes_until_it_is_done(visit: Visit):
    await visit.shot("empty")
    await visit.choose()
    await visit.shot("photo")
    await visit.fill("stained glass step=0.05", steps=40, seed=7)
    await visit.page.click("#submit")
    await visit.status("Step 1")
    await visit.shot("running")
    await visit.status("Done")
    await visit.shot("done")
