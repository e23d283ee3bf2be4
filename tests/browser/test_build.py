"""The page that the package contains is the one that its sources describe."""

from __future__ import annotations

from pathlib import Path

from clipstyler_cli.live_page import built_page

from tests.browser.early import BUILT, NewPage


def test_the_built_page_is_up_to_date(new_page: NewPage):
    assert BUILT in new_page.output
    assert contents(new_page.folder) == contents(built_page()), "`make web` rewrites it"


def test_the_parts_of_the_page_by_themselves(new_page: NewPage):
    assert "Test Files" in new_page.output
    assert new_page.process.returncode == 0, new_page.output


def contents(page: Path) -> dict[str, bytes]:
    return {str(path.relative_to(page)): path.read_bytes() for path in sorted(page.rglob("*")) if path.is_file()}
