"""A real server on the scripted workload, for clients that do not share its event loop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clipstyler_client import Client


class Server:
    """A server process on the scripted workload, at one port and with one store over its restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.target = f"127.0.0.1:{port}"
        self._environment = os.environ | {
            "CLIPSTYLER_PORT": str(port),
            "CLIPSTYLER_HTTP_PORT": "0",
            "CLIPSTYLER_DATA_DIR": str(folder),
            "CLIPSTYLER_EVALUATOR": "false",
            "CLIPSTYLER_DRAIN_GRACE_S": "0.2",
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.serve_scripted"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        with Client(self.target) as client:
            client.wait_until_ready(90)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests of one module, which names it with `server = module_server`."""
    running = Server(tmp_path_factory.mktemp("store"))
    yield running
    running.end()
