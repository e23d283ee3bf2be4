"""The page of metrics, when many ask for it at once."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from clipstyler_server.observability.shared_exposition import SharedExposition

_PAGE_S = 0.02


class Pages(SharedExposition):
    """Counts the pages that it makes, each of which takes a while."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(exposition=self._count))
        self.made = 0

    def _count(self, _accept: str) -> tuple[bytes, str]:
        time.sleep(_PAGE_S)
        self.made += 1
        return b"%d" % self.made, "not used"


async def test_all_who_ask_at_once_share_a_page_and_later_ones_get_a_later_one() -> None:
    pages = Pages()
    found = await asyncio.gather(*(pages.of_now("") for _ in range(50)))
    assert {page for page, _ in found} == {b"1"}
    assert (await pages.of_now(""))[0] == b"2"


async def test_formats_are_pages_of_their_own() -> None:
    pages = Pages()
    plain, other = await asyncio.gather(pages.of_now(""), pages.of_now("application/openmetrics-text;version=1.0.0"))
    assert plain[1].startswith("text/plain")
    assert other[1].startswith("application/openmetrics-text")
    assert pages.made == 2


async def test_whatever_a_reader_accepts_there_are_two_pages() -> None:
    pages = Pages()
    name = "application/openmetrics-text"
    asked = [f"{name};version={version}" for version in ("1.0.0", "0.0.1", "99.x", "a.b", "", "\xff")]
    asked += [f"text/plain;version=1.0.0,{name};escaping=bogus", "*/*", "\xff;;,=", "text/plain;version=a.b"]
    found = await asyncio.gather(*(pages.of_now(accept) for accept in asked))
    assert {content_type for _, content_type in found[:7]} == {found[0][1]}
    assert {content_type for _, content_type in found[7:]} == {found[-1][1]}
    assert found[0][1].startswith(f"{name}; version=1.0.0;")
    assert pages.made == 2


async def test_the_event_loop_is_free_half_of_the_time() -> None:
    pages = Pages()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(_PAGE_S / 10)
            turns += 1

    beside = asyncio.create_task(others())

    async def ask() -> None:
        for _ in range(5):
            await pages.of_now("")

    await asyncio.gather(*(ask() for _ in range(8)))
    beside.cancel()
    assert turns > pages.made


async def test_a_page_that_fails_is_made_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages()

    def broken(_accept: str) -> tuple[bytes, str]:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(pages._metrics, "exposition", broken)
        with pytest.raises(RuntimeError):
            await pages.of_now("")
    assert (await pages.of_now(""))[0] == b"1"


async def test_a_reader_that_leaves_takes_the_page_from_nobody() -> None:
    pages = Pages()
    leaving = asyncio.create_task(pages.of_now(""))
    staying = asyncio.create_task(pages.of_now(""))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)[0] == b"1"
