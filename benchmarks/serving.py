"""Servers for benchmarks: a separate process on a free port, with a temporary data directory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from clipstyler_client import Client

START_S = 180.0
_STOP_S = 30.0
_ROOT = Path(__file__).parents[1]


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
    target = f"127.0.0.1:{_free_port()}"
    with TemporaryDirectory(prefix="clipstyler-") as data_dir:
        chosen = {"port": target.rpartition(":")[2], "http_port": 0, "data_dir": data_dir, "log_level": "warning"}
        environment = {f"CLIPSTYLER_{name.upper()}": str(value) for name, value in (chosen | settings).items()}
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=os.environ | environment, stdout=subprocess.DEVNULL, cwd=_ROOT
        )
        try:
            with Client(target) as client:
                client.wait_until_ready(START_S)
            yield target, process.pid
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
