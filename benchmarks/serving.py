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

from clipstyler_client import Client, ServerUnavailableError

START_S = 180.0
_STOP_S = 30.0
_LOOK_S = 2.0  # between two looks at a process that should become ready
_ROOT = Path(__file__).parents[1]


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
    """

    def __init__(self, data_dir: str | Path, module: str = "clipstyler_server", **settings: object) -> None:
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        chosen = {"port": port, "http_port": 0, "data_dir": data_dir, "log_level": "warning"} | settings
        self._environment = {f"CLIPSTYLER_{name.upper()}": str(value) for name, value in chosen.items()}
        self._command = [sys.executable, "-m", module]
        self.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def start(self) -> None:
        """Start the process."""
        environment = os.environ | self._environment
        self._process = subprocess.Popen(self._command, env=environment, stdout=subprocess.DEVNULL, cwd=_ROOT)

    def wait_until_ready(self) -> None:
        """Wait until it accepts jobs.

        Raises
        ------
        ServerUnavailableError
            It does not in time.
        RuntimeError
            Its process ended.
        """
        deadline = time.monotonic() + START_S
        with Client(self.target) as client:
            while True:
                try:
                    client.wait_until_ready(_LOOK_S)
                except ServerUnavailableError:
                    if (code := self._process.poll()) is not None:
                        raise RuntimeError(f"the server ended with exit code {code} before it was ready") from None
                    if time.monotonic() >= deadline:
                        raise
                else:
                    return

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
            server.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
