"""A real server on a file system that is read-only but for its two directories and /tmp, as its image is run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clipstyler_client import Client

from tests.clients.scripted_server import picture

CLIPSTYLER = Path(sys.executable).parent / "clipstyler"
NAMESPACE = ("unshare", "--mount", "--propagation", "private")
# /srv and /media become the server's directories: they exist everywhere, and are empty.
READ_ONLY = """
set -eu
mount --bind "$1/data" /srv
mount --bind "$1/cache" /media
mount -t tmpfs tmpfs /tmp
mount -o remount,bind,ro /
if touch /writable 2> /dev/null; then exit 1; fi
cd /srv
shift
exec "$@"
"""


def may_mount() -> bool:
    probe = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return probe.returncode == 0


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    for name in ("data", "cache"):
        (folder / name).mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/srv",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CLIPSTYLER_PORT": str(port),
        "CLIPSTYLER_HTTP_PORT": "0",
        "CLIPSTYLER_DATA_DIR": "/srv",
        "CLIPSTYLER_CACHE_DIR": "/media",
        "CLIPSTYLER_MODELS": "/media/models",
        "CLIPSTYLER_ACCELERATIONS": "off",
    }
    command = [*NAMESPACE, "bash", "-c", READ_ONLY, "read-only", folder, CLIPSTYLER, "serve"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def health(target: str, service: str) -> int:
    command = [CLIPSTYLER, "health", "--server", target, "--service", service]
    return subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.timeout(300)  # the evaluator exports its encoders
def test_the_server_works_on_a_read_only_file_system(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("this user may not mount file systems")
    if CLIPSTYLER.resolve().is_relative_to("/tmp"):
        pytest.skip("needs a checkout outside /tmp, which the server's own /tmp would hide")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    target = f"127.0.0.1:{port}"
    with serving(tmp_path, port) as process, Client(target) as client:
        client.wait_until_ready(120)
        with client.stylize(picture("gray", (96, 64), "JPEG"), "fire", size=64, steps=2, patches=2) as stream:
            assert stream.result().image
        until = time.monotonic() + 120
        while health(target, "clipstyler.v1.EncoderService") != 0:
            assert time.monotonic() < until
            time.sleep(0.5)
    assert process.returncode == 0
    assert (tmp_path / "data" / "jobs.sqlite3").exists()
    assert list((tmp_path / "cache").rglob("*.onnx"))
