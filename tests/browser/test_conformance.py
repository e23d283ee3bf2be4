"""The web client plays the conformance cases in Chromium, through the gateway."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.node import ROOT, WEB, install_modules
from tests.conformance.running import groups
from tests.conformance.serve import serving
from tests.languages.web_cases import WEB_CASES

ENTRY = ROOT / "client" / "node" / "test" / "conformance" / "page.ts"


def bundled(folder: Path) -> Path:
    """The player of the cases, as one script."""
    install_modules()
    script = folder / "page.js"
    command = ["npx", "esbuild", ENTRY, "--bundle", "--format=iife", f"--outfile={script}", "--log-level=error"]
    subprocess.run(command, cwd=WEB, check=True, timeout=60)
    return script


async def played(browser: Browser, url: str, script: Path, control: str, names: list[str]) -> dict[str, dict]:
    """Play cases in a page of their own; any page of this machine may call the gateway."""
    page = await browser.new_page()
    await page.goto(url)
    await page.evaluate(script.read_text())
    reports = await page.evaluate("([control, names]) => playCases(control, names)", [control, names])
    await page.close()
    return {report["name"]: report for report in reports}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def results(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, dict]]:
    script = bundled(tmp_path_factory.mktemp("bundle"))
    with serving() as control:
        both = await asyncio.gather(
            *(played(browser, f"{control}/cases", script, control, names) for names in groups(WEB_CASES))
        )
        yield {name: report for reports in both for name, report in reports.items()}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WEB_CASES)
async def test_the_web_client_conforms_in_a_browser(results: dict[str, dict], name: str):
    assert results[name]["ok"], results[name]["detail"]
