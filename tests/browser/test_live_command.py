"""`clipstyler live`: one command, one address, and nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from clipstyler_cli import live_page
from clipstyler_cli.main import app
from typer.testing import CliRunner


def test_it_prints_the_address_of_the_page_and_ends_with_everything(tmp_path: Path):
    command = [sys.executable, "-m", "clipstyler_cli.entry", "live", "--listen", "127.0.0.1:0", "--data-dir", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"the live page is on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        children = psutil.Process(process.pid).children(recursive=True)
        with urllib.request.urlopen(found[1]) as response:
            assert "<title>clipstyler</title>" in response.read().decode()
            assert "default-src" in response.headers["content-security-policy"]
        request = urllib.request.Request(
            f"{found[1]}/clipstyler.v1.ServerService/GetServerInfo", b"{}", {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            assert b'"pocket"' in response.read()
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert len(children) >= 2
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_page_that_was_not_built_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_page, "_DIRECTORY", tmp_path)
    outcome = CliRunner().invoke(app, ["live"])
    assert outcome.exit_code == 2
    assert "`make web` builds it" in outcome.stderr
