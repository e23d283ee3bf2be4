"""`clipstyler live`: one command, one address, and nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from clipstyler_cli import live_page
from clipstyler_cli.main import app
from clipstyler_cli.server_process import Restarts
from clipstyler_cli.terminal import Terminal
from clipstyler_client import ServerUnavailableError
from typer.testing import CliRunner


def test_it_prints_the_address_of_the_page_and_ends_with_everything(live_process: subprocess.Popen[str]):
    process = live_process
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"the live page is on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        with urllib.request.urlopen(found[1]) as response:
            assert "<title>clipstyler</title>" in response.read().decode()
            assert "default-src" in response.headers["content-security-policy"]
        request = urllib.request.Request(
            f"{found[1]}/clipstyler.v1.ServerService/GetServerInfo", b"{}", {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            assert b'"pocket"' in response.read()
        children = revived(process, request)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert "the server exited with code -9; starting it again in 0.5 s" in process.stderr.read()
    assert len(children) >= 2
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def revived(process: subprocess.Popen[str], request: urllib.request.Request) -> list[psutil.Process]:
    """Kill the server, and wait until its successor answers; returns all children then."""

    def server() -> psutil.Process | None:
        children = psutil.Process(process.pid).children()
        return next((child for child in children if "clipstyler_server" in child.cmdline()), None)

    killed = server()
    killed.kill()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(urllib.error.URLError, psutil.Error):  # a child that has just ended has no command line
            if server() not in {None, killed} and urllib.request.urlopen(request).status == 200:
                return psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.1)
    raise AssertionError("the server was not started again")


class DyingServer:
    """A server that exits as soon as it is started."""

    exit_code = 1
    starts = 0

    def restart(self) -> None:
        self.starts += 1


def test_a_server_that_keeps_exiting_is_given_up_after_ever_longer_delays(capsys: pytest.CaptureFixture[str]):
    server = DyingServer()
    restarts = Restarts(server, Terminal(stderr=True))
    for second in range(21):
        restarts.check(second)
    with pytest.raises(ServerUnavailableError, match="also after it was started again 5 times"):
        restarts.check(21)
    assert server.starts == 5
    assert [line.rpartition(" in ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "0.5 s",
        "1 s",
        "2 s",
        "4 s",
        "8 s",
    ]


def test_a_server_that_exits_now_and_then_is_always_started_again():
    server = DyingServer()
    restarts = Restarts(server, Terminal(stderr=True))
    for seconds in range(0, 2000, 100):
        restarts.check(seconds)
        restarts.check(seconds + 1)
    assert server.starts == 20


def test_a_page_that_was_not_built_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_page, "_DIRECTORY", tmp_path)
    outcome = CliRunner().invoke(app, ["live"])
    assert outcome.exit_code == 2
    assert "`make web` builds it" in outcome.stderr
