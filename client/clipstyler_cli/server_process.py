"""A server as a child of the command: started, awaited, started again if it dies, and ended with the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from clipstyler_client import Client, ServerUnavailableError, StylizeError

from clipstyler_cli.terminal import Terminal

_START_S = 180.0
_STOP_S = 30.0
_POLL_S = 0.1
_LOG_LINES = 15
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0
# A server that runs for so long has recovered.
_RECOVERED_S = 60.0
_MAX_RESTARTS = 5
# On loopback for this command alone: what the environment says of addresses and identity is for other servers.
_HERE = {"HOST": "127.0.0.1", "HTTP_HOST": "127.0.0.1", "INSECURE": "false"}
_OPEN = dict.fromkeys(("TOKENS", "TENANTS", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"), "")


class ServerProcess:
    """A server on a free port, which it keeps when it is started again.

    Parameters
    ----------
    log
        File of its log.
    settings
        Further settings by their name in the environment, without the prefix.

    Attributes
    ----------
    target
        "HOST:PORT", once it has reported its address.
    """

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self._log = log
        self._settings = {"PORT": "0", "HTTP_PORT": "0", "LOG_FORMAT": "json", **_HERE, **_OPEN, **settings}
        self.target = ""
        self._process = self._start("wb")

    def _start(self, log_mode: Literal["wb", "ab"]) -> subprocess.Popen[bytes]:
        environment = os.environ | {f"CLIPSTYLER_{name}": value for name, value in self._settings.items()}
        with self._log.open(log_mode) as output:
            return subprocess.Popen([sys.executable, "-m", "clipstyler_server"], stderr=output, env=environment)

    @property
    def exit_code(self) -> int | None:
        """The code that it has exited with; None while it runs."""
        return self._process.poll()

    def wait_until_ready(self) -> None:
        """Wait until it takes jobs.

        Raises
        ------
        ServerUnavailableError
            It does not in time.
        """
        self.target = self._reported_address()
        with Client(self.target) as client:
            client.wait_until_ready(_START_S)

    def restart(self) -> None:
        """Start it again after it has exited, at the same port."""
        self._settings["PORT"] = self.target.rpartition(":")[2]
        self._process = self._start("ab")

    def end(self) -> None:
        """End it; its running job may finish within the grace period."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def last_lines(self) -> str:
        """Return the end of its log, with the name of the file."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"last lines of the server log, {self._log}:", *lines])

    def _reported_address(self) -> str:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            for line in self._log.read_text(errors="replace").splitlines():
                if '"server_ready"' in line:
                    return str(json.loads(line)["grpc"])
            if self.exit_code is not None:
                problem = f"the server exited with code {self.exit_code}"
                raise ServerUnavailableError("UNAVAILABLE", problem, "SERVER_EXITED")
            time.sleep(_POLL_S)
        raise ServerUnavailableError("UNAVAILABLE", f"the server reported no address within {_START_S:g} s")


class Restarts:
    """Starts a server again that has exited: after half a second, and after twice as long each further time.

    Parameters
    ----------
    server
        The server.
    console
        Where to report it.
    """

    def __init__(self, server: ServerProcess, console: Terminal) -> None:
        self._server = server
        self._console = console
        self._count = 0
        self._started_at = -_RECOVERED_S
        self._due_at: float | None = None

    def check(self, now: float) -> None:
        """Start the server if it has exited and its time has come; call this often.

        Parameters
        ----------
        now
            Seconds of a monotonic clock.

        Raises
        ------
        ServerUnavailableError
            It keeps exiting.
        """
        code = self._server.exit_code
        if code is None:
            return
        if self._due_at is None:
            self._due_at = now + self._delay_s(code, now)
        elif now >= self._due_at:
            self._due_at, self._started_at = None, now
            self._server.restart()

    def _delay_s(self, code: int, now: float) -> float:
        self._count = 1 if now - self._started_at >= _RECOVERED_S else self._count + 1
        if self._count > _MAX_RESTARTS:
            problem = f"the server exited with code {code}, also after it was started again {_MAX_RESTARTS} times"
            raise ServerUnavailableError("UNAVAILABLE", problem, "SERVER_EXITED")
        delay_s = min(_FIRST_DELAY_S * 2.0 ** (self._count - 1), _LONGEST_DELAY_S)
        self._console.print(f"the server exited with code {code}; starting it again in {delay_s:g} s")
        return delay_s


@contextmanager
def running_server(log: Path, settings: Mapping[str, str], console: Terminal) -> Iterator[ServerProcess]:
    """Run a server on free ports; yields it once it takes jobs.

    Parameters
    ----------
    log
        File of its log; its end is printed after an error of a call, and if the server does not start.
    settings
        Further settings by their name in the environment, without the prefix.
    console
        Where to show that it starts.

    Raises
    ------
    ServerUnavailableError
        It does not take jobs in time.
    """
    server = ServerProcess(log, settings)
    try:
        with console.status("starting the server"):
            server.wait_until_ready()
        yield server
    except StylizeError:
        console.print(server.last_lines())
        raise
    finally:
        server.end()
