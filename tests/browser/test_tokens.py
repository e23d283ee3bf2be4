"""A server that asks for a token: the page asks for it in words, beside what failed, and keeps it in the tab only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from clipstyler_cli.envoy_config import GatewayConfig
from clipstyler_cli.envoy_process import running
from clipstyler_cli.envoy_tls import ListenerTls
from clipstyler_cli.live_page import built_page
from clipstyler_server.identity.roles import Role
from clipstyler_server.identity.tokens import Token, add_token, draw, remove_token
from playwright.async_api import Browser, expect

from tests.browser.site import Site, Visit, visiting
from tests.service.certificates import Authority

ASKED = "This server asks for an access token."
NOT_ACCEPTED = "The server does not accept this token."
EXPIRED = "This token has expired."


@pytest.fixture(scope="module")
def file(guarded_site: Site) -> Path:
    return Path(str(guarded_site.settings["tokens"]))


def given(file: Path, expires_at: datetime | None = None) -> tuple[str, Token]:
    """A new token, which the server knows within a second."""
    text, token = draw("studio", Role.USER, expires_at)
    add_token(file, token)
    return text, token


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, guarded_site: Site) -> AsyncIterator[Visit]:
    async with visiting(browser, guarded_site.url) as visit:
        yield visit


async def enter(visit: Visit, token: str) -> None:
    await visit.page.fill("#token", token)
    await visit.page.keyboard.press("Enter")


async def enter_until_accepted(visit: Visit, token: str) -> None:
    """Enter a token that the server may not know yet."""
    for _ in range(40):
        await enter(visit, token)
        outcome = visit.page.locator("#access[hidden], #access:not([hidden]) #access-words:text('does not accept')")
        await expect(outcome.first).to_be_attached()
        if await visit.page.locator("#access").is_hidden():
            return
        await visit.page.wait_for_timeout(100)
    raise AssertionError("the token is never accepted")


async def test_it_is_asked_for_in_words_and_kept_in_the_tab_only(visitor: Visit, file: Path):
    page = visitor.page
    await expect(page.locator("#access-words")).to_have_text(ASKED)
    await expect(page.locator("#server")).to_have_text("The server asks for a token")
    await expect(page.locator("#token")).to_have_attribute("type", "password")
    await visitor.look("token")
    await enter(visitor, "clipstyler_000000000000_wrong")
    await expect(page.locator("#access-words")).to_contain_text(NOT_ACCEPTED)
    await enter(visitor, "two words")
    await expect(page.locator("#access-words")).to_contain_text("A token has no spaces")
    text, _ = given(file)
    await enter_until_accepted(visitor, text)
    await expect(page.locator("#server")).to_contain_text("studio")
    await visitor.stylize("fire", steps=2)
    await visitor.status("Done")

    assert await page.evaluate("Object.values(sessionStorage)") == [text]
    assert await page.evaluate("Object.values(localStorage)") == []
    assert await page.evaluate("document.cookie") == ""
    assert text not in page.url
    assert not [request for request in visitor.requests if text in request.url]
    await page.reload()
    await visitor.status("Done")
    await expect(page.locator("#server")).to_contain_text("studio")
    await expect(page.locator("#access")).to_be_hidden()
    second = await visitor.tab()
    await expect(second.locator("#access-words")).to_have_text(ASKED)
    await page.click("#forget")
    await expect(page.locator("#access-words")).to_have_text(ASKED)
    assert await page.evaluate("sessionStorage.length") == 0


async def test_nothing_is_sent_again_until_there_is_another_token(visitor: Visit):
    await expect(visitor.page.locator("#access-words")).to_have_text(ASKED)
    before = len(visitor.requests)
    await visitor.page.wait_for_timeout(3500)  # longer than the intervals at which the page asks the server
    assert len(visitor.requests) == before


async def test_a_request_that_was_refused_is_sent_again_with_the_new_token(visitor: Visit, file: Path):
    page = visitor.page
    await visitor.choose()
    await visitor.fill("fire", steps=2, seed=3)
    await page.click("#submit")
    await expect(page.locator("#form #access-words")).to_have_text(ASKED)
    await expect(page.locator("#token")).to_be_focused()
    await visitor.look("token-submit")
    text, _ = given(file)
    await enter_until_accepted(visitor, text)
    await visitor.status("Done · 2 steps · seed 3")
    await expect(page.locator("#jobs li")).to_have_count(1)


async def test_a_token_that_is_revoked_in_the_middle_loses_no_job(visitor: Visit, file: Path, tmp_path: Path):
    page, held = visitor.page, tmp_path / "go"
    text, token = given(file)
    await enter_until_accepted(visitor, text)
    await visitor.stylize(f"fire at=3 hold={held}", steps=6, seed=3)
    await visitor.step(2)
    remove_token(file, token.id)
    await expect(page.locator("#access-words")).to_contain_text(NOT_ACCEPTED)
    await expect(page.locator("#connection")).to_be_hidden()  # it is not the connection
    text, _ = given(file)
    await enter_until_accepted(visitor, text)
    held.touch()
    await visitor.status("Done · 6 steps · seed 3")


async def test_an_expired_token_is_named_as_such(visitor: Visit, file: Path):
    text, _ = given(file, datetime(2020, 1, 1, tzinfo=UTC))
    for _ in range(40):
        await enter(visitor, text)
        await expect(visitor.page.locator("#access-words")).to_contain_text("token")
        if EXPIRED in (await visitor.page.locator("#access-words").text_content() or ""):
            return
        await visitor.page.wait_for_timeout(100)
    raise AssertionError("the token is not called expired")


async def test_the_page_by_https(browser: Browser, guarded_site: Site, file: Path, tmp_path: Path):
    certificate = Authority().issue_server().write(tmp_path, "gateway")
    server = f"127.0.0.1:{guarded_site.settings['port']}"
    config = GatewayConfig(port=0, servers=(server,), page=built_page(), tls=ListenerTls(*certificate))
    with running(config) as gateway:
        async with visiting(browser, gateway.address, ignore_https_errors=True) as visit:
            protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
            assert await visit.page.evaluate(protocol) == "h2"
            text, _ = given(file)
            await enter_until_accepted(visit, text)
            await visit.stylize("fire", steps=2, seed=3)
            await visit.status("Done · 2 steps · seed 3")


async def test_no_token_is_taken_without_encryption(browser: Browser, guarded_site: Site):
    context = await browser.new_context()
    await context.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
    page = await context.new_page()
    await page.goto(guarded_site.url)
    await expect(page.locator("#access-words")).to_contain_text("open this page at its https address")
    await expect(page.locator("#token")).to_be_hidden()
    await context.close()
