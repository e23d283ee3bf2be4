"""Images that the Python client writes: a good file is replaced by a whole one, or stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clipstyler_client import JobImage, StyledPhoto
from clipstyler_client._codec import EventReader

from tests.clients.scripted_server import result

Save = Callable[[bytes, Path], Path]
SAVES: dict[str, Save] = {
    "a result": lambda data, path: EventReader().read(result(data)).save(path),
    "a download": lambda data, path: JobImage(data, "png", 1, 1).save(path),
    "a styled photo": lambda data, path: StyledPhoto(0, JobImage(data, "png", 1, 1)).save(path),
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_a_file_that_cannot_be_written_stays_as_it_was(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = tmp_path / "out.png", tmp_path / "link.png"
    assert save(b"good", path) == path
    path.chmod(0o640)
    link.symlink_to(path)
    assert save(b"better", link) == link
    assert (path.read_bytes(), path.stat().st_mode & 0o777, link.is_symlink()) == (b"better", 0o640, True)

    def on_a_full_disk(file: Path, data: bytes) -> int:
        with file.open("wb") as half:
            half.write(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(b"longer", path)
    assert path.read_bytes() == b"better"
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_an_image_is_saved_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        received = reader.submit(pipe.read_bytes)
        JobImage(b"image", "png", 1, 1).save(pipe)
        assert received.result(10) == b"image"
