"""What the tests of clients and of the command share: a scripted server, and a photo to send to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.scripted_server import ScriptedServer, picture, serving


@pytest.fixture(autouse=True)
def _stays_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what serves from starting pytest again: all tests would run anew, with their outcomes lost."""
    for module in ("clipstyler_cli.serve", "clipstyler_server.__main__"):
        monkeypatch.setattr(f"{module}.restart_with_c_allocator", lambda: None)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serving() as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture("gray", (120, 80)))
    return path
