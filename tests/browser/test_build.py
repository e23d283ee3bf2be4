"""The page that the package contains is the one that its sources describe."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from clipstyler_cli.live_page import built_page

from tests.browser.node import WEB


def test_the_built_page_is_up_to_date(tmp_path: Path, node_modules: Path):
    environment = os.environ | {"CLIPSTYLER_PAGE": str(tmp_path / "page")}
    subprocess.run(["npm", "run", "--silent", "build"], cwd=WEB, env=environment, check=True, timeout=100)
    assert contents(tmp_path / "page") == contents(built_page()), "`make web` rewrites it"


def test_the_parts_of_the_page_by_themselves(node_modules: Path):
    subprocess.run(["npm", "run", "--silent", "test"], cwd=WEB, check=True, timeout=60)


def contents(page: Path) -> dict[str, bytes]:
    return {str(path.relative_to(page)): path.read_bytes() for path in sorted(page.rglob("*")) if path.is_file()}
