"""A server as a child of the command: started, awaited, and ended with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clipstyler_client import Client, ServerUnavailableError, StylizeError

from clipstyler_cli.terminal import Terminal

_START_S = 180.0
_STOP_S = 30.0
_POLL_S = 0.1
_LOG_LINES = 15
# On loopback for this command alone: what the environment says of identity is for other servers.
_OPEN = dict.fromkeys(("TOKENS", "TENANTS", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"), "")


@contextmanager
def running_server(log: Path, settings: Mapping[str, str], console: Terminal) -> Iterator[str]:
    """Run a server on free ports; yields its address once it takes jobs.

    Parameters
    ----------
    log
        File of its log; its end is printed if the server does not start.
    settings
        Further settings by their name in the environment, without the prefix.
    console
        Where to show that it starts.

    Raises
    ------
    ServerUnavailableError
        It does not take jobs in time.
    """
    chosen = {"PORT": "0", "HTTP_PORT": "0", "LOG_FORMAT": "json", **_OPEN, **settings}
    environment = os.environ | {f"CLIPSTYLER_{name}": value for name, value in chosen.items()}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "clipstyler_server"], stderr=output, env=environment)
    try:
        with console.status("starting the server"):
            target = _address(process, log)
            with Client(target) as client:
                client.wait_until_ready(_START_S)
        yield target
    except StylizeError:
        console.print(f"last lines of the server log, {log}:\n" + _tail(log))
        raise
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines():
            if '"server_ready"' in line:
                return str(json.loads(line)["grpc"])
        if process.poll() is not None:
            raise ServerUnavailableError("UNAVAILABLE", f"the server exited with code {process.returncode}")
        time.sleep(_POLL_S)
    raise ServerUnavailableError("UNAVAILABLE", f"the server reported no address within {_START_S:g} s")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
