"""The thread of the optimizer that applies styles."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from clipstyler_server.spool import PixelFile
from clipstyler_server.workers.engine import FailureKind
from clipstyler_server.workers.optimizer import applications
from clipstyler_server.workers.optimizer.applications import Applied, Apply, StyleFile, StyleThread

from clipstyler.events import Rendering
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import ImageFile, Picture
from clipstyler.style_controls import StyleControls


def order(number: int, folder: Path) -> Apply:
    style = StyleFile(folder / "style", "ab" * 32)
    photo = PixelFile(folder / "photo", 4, 3, has_alpha=False)
    target = folder / f"{number}.png"
    return Apply(number, style, None, StyleControls(), photo, ImageFormat.PNG, target, timeout_s=60)


def test_memory_is_returned_once_no_photo_follows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    happened: queue.SimpleQueue[object] = queue.SimpleQueue()
    all_queued = threading.Event()

    def drawing(_order: Apply, _check: object):
        all_queued.wait()
        yield Rendering(0, 1)
        return Picture(np.zeros((3, 4, 3), np.uint8))

    def send(message: object) -> None:
        if isinstance(message, Applied):
            happened.put(message.end)

    monkeypatch.setattr(applications, "_IDLE_S", 0.1)
    monkeypatch.setattr(applications, "return_unused_memory", lambda: happened.put("returned"))
    thread = StyleThread(MagicMock(apply=drawing), send)
    assert happened.get(timeout=60) == "returned"
    for number in (1, 2):
        thread.apply(order(number, tmp_path))
    all_queued.set()
    assert isinstance(happened.get(timeout=60), ImageFile)
    assert isinstance(happened.get(timeout=60), ImageFile)
    assert happened.get(timeout=60) == "returned"


def test_a_style_that_cannot_be_read_is_a_failure_of_the_storage(tmp_path: Path) -> None:
    happened: queue.SimpleQueue[Applied] = queue.SimpleQueue()
    (tmp_path / "style").mkdir()  # it is there, and reading it fails

    def drawing(asked: Apply, _check: object):
        asked.style.load()
        yield Rendering(0, 1)

    StyleThread(MagicMock(apply=drawing), happened.put).apply(order(1, tmp_path))
    assert happened.get(timeout=60).end.kind is FailureKind.STORAGE_UNAVAILABLE
