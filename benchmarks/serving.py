"""Servers for benchmarks: a separate process on a free port, with a temporary data directory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from clipstyler_client import Client, StylizeError
from clipstyler_server.settings import Settings

START_S = 330.0  # longer than a worker may take to start (`CLIPSTYLER_START_TIMEOUT_S`)
_STOP_S = 30.0
_LOOK_S = 0.2  # between two looks at a process that should become ready
_ANSWER_S = 2.0  # for what it says of itself
_ROOT = Path(__file__).parents[1]
_PREFIX = "CLIPSTYLER_"  # of variables of a server, of which it gets no others: a caller's may be of any server


class Server:
    """A server in a process of its own, which can be started again on its port and with its data.

    Parameters
    ----------
    data_dir
        Directory of its data.
    module
        The module to run, as in `python -m`.
    settings
        Of the server, by the names of its settings.

    Attributes
    ----------
    target
        "HOST:PORT".

    Raises
    ------
    ValueError
        A setting is unknown: the server would not notice its variable.
    """

    def __init__(self, data_dir: str | Path, module: str = "clipstyler_server", **settings: object) -> None:
        if unknown := settings.keys() - Settings.model_fields.keys():
            raise ValueError(f"the server has no setting {', '.join(sorted(unknown))}")
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        chosen = {"port": port, "http_port": 0, "data_dir": data_dir, "log_level": "warning"} | settings
        self._environment = {f"{_PREFIX}{name.upper()}": str(value) for name, value in chosen.items()}
        self._command = [sys.executable, "-m", module]
        self.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def start(self) -> None:
        """Start the process."""
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(_PREFIX)}
        self._process = subprocess.Popen(
            self._command, env=environment | self._environment, stdout=subprocess.DEVNULL, cwd=_ROOT
        )

    def wait_until_ready(self) -> None:
        """Wait until it accepts jobs.

        Raises
        ------
        RuntimeError
            It does not in time, or its process ended; the message says what it was doing.
        """
        deadline = time.monotonic() + START_S
        with Client(self.target) as client:
            while problem := _problem(client):
                if (code := self._process.poll()) is not None:
                    raise RuntimeError(f"the server ended with exit code {code} before it was ready")
                if time.monotonic() >= deadline:
                    raise RuntimeError(f"the server was not ready after {START_S:g} s: {problem}")
                time.sleep(_LOOK_S)

    def stop(self, timeout_s: float = _STOP_S) -> int:
        """Ask it to drain, and wait until it has; returns its exit code."""
        self._process.terminate()
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill it unless it has ended."""
        self._process.kill()
        self._process.wait()


@contextmanager
def serving(module: str = "clipstyler_server", **settings: object) -> Iterator[tuple[str, int]]:
    """Run a server until the block ends; yields its address and process id once it accepts jobs.

    Parameters
    ----------
    module
        The module to run, as in `python -m`.
    settings
        Of the server, by the names of its settings.
    """
    with TemporaryDirectory(prefix="clipstyler-") as data_dir:
        server = Server(data_dir, module, **settings)
        try:
            server.wait_until_ready()
            yield server.target, server.pid
        finally:
            try:
                server.stop()
            finally:
                server.kill()


def _problem(client: Client) -> str:
    """Return why a server does not accept jobs yet; empty if it does."""
    try:
        info = client.server_info(timeout_s=_ANSWER_S)
    except StylizeError as error:
        return error.message
    if info.is_ready:
        return ""
    states = ", ".join(f"{worker.device or 'a worker'}: {worker.state}" for worker in info.workers)
    return states or "it has no worker yet"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
