"""The demo's parts together: the command through the real server, with the bundled encoders."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from clipstyler_cli import server_process
from clipstyler_cli.main import app
from clipstyler_cli.server_process import running_server
from clipstyler_cli.terminal import Terminal
from typer.testing import CliRunner

PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"


def test_the_command_through_the_real_server_is_the_command_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSTYLER_ACCELERATIONS", "channels_last")
    arguments = ["stylize", str(PHOTO), "fire", "--size", "64", "--steps", "3", "--seed", "3", "--quiet"]
    alone = [sys.executable, "-m", "clipstyler_cli.entry", *arguments, "-o", str(tmp_path / "alone.png")]
    subprocess.run(alone, check=True, env={"OMP_NUM_THREADS": "1", "CLIPSTYLER_ACCELERATIONS": "channels_last"})
    settings = {"DATA_DIR": str(tmp_path / "data")}
    others = set(psutil.Process().children(recursive=True))
    with running_server(tmp_path / "server.log", settings, Terminal(stderr=True)) as server:
        outcome = CliRunner().invoke(
            app, [*arguments, "-o", str(tmp_path / "served.png"), "--server", server.target, "--json"]
        )
        assert outcome.exit_code == 0, outcome.output
    described = json.loads(outcome.stdout)
    assert described["options"]["encoder_set"] == "pocket"
    assert described["versions"]["accelerations"] == "channels_last"
    if described["threads"] == 1:  # the same thread count, the same bytes
        assert (tmp_path / "served.png").read_bytes() == (tmp_path / "alone.png").read_bytes()
    assert "server_stopped" in (tmp_path / "server.log").read_text()
    left = set(psutil.Process().children(recursive=True)) - others
    assert not [process for process in left if "clipstyler_server" in " ".join(process.cmdline())]


def test_a_demo_that_is_asked_to_end_leaves_no_server(tmp_path: Path) -> None:
    arguments = ["demo", "--photo", str(PHOTO), "--out-dir", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "clipstyler_cli.entry", *arguments], stderr=subprocess.DEVNULL)
    while not (children := psutil.Process(process.pid).children()):
        time.sleep(0.05)
    process.terminate()
    code = process.wait(60)
    _, left = psutil.wait_procs(children, timeout=5)
    for child in left:
        child.kill()
    assert (code, left) == (130, [])


def test_a_server_that_cannot_start_shows_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSTYLER_DEVICE", "cuda:99")
    outcome = CliRunner().invoke(app, ["demo", "--photo", str(PHOTO), "--out-dir", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "last lines of the server log" in outcome.stderr
    assert "'cuda:99' is not available" in outcome.stderr
    assert "is a server running there?" not in outcome.stderr


def test_a_server_of_a_command_is_for_that_alone_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, str] = {}

    def started(_command: list[str], *, env: dict[str, str], **_files: object) -> None:
        asked.update(env)
        raise KeyboardInterrupt

    monkeypatch.setattr(server_process.subprocess, "Popen", started)
    names = ("HOST", "HTTP_HOST", "INSECURE", "TOKENS", "DATABASE_URL", "SHARED_DIR")
    for name in names:
        monkeypatch.setenv(f"CLIPSTYLER_{name}", "of another server")
    CliRunner().invoke(app, ["demo", "--photo", str(PHOTO), "--out-dir", str(tmp_path)])
    assert [asked[f"CLIPSTYLER_{name}"] for name in names] == ["127.0.0.1", "127.0.0.1", "false", "", "", ""]
