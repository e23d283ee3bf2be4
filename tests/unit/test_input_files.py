"""Input files: devices and pipes are read up to a bound."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from clipstyler_client import _codec

from clipstyler import input_files

READERS = pytest.mark.parametrize(
    ("module", "bound", "read"),
    [(input_files, "MAX_FILE_BYTES", input_files.read_whole), (_codec, "_MAX_PHOTO_BYTES", _codec.photo_bytes)],
    ids=["library", "client"],
)


@READERS
def test_a_device_without_end_is_refused(module, bound, read, monkeypatch) -> None:
    monkeypatch.setattr(module, bound, 2**20)
    with pytest.raises(OSError, match=r"has more than 1 MiB|File too large") as caught:
        read(Path("/dev/zero"))
    assert caught.value.filename == "/dev/zero"
    assert caught.value.errno in {0, errno.EFBIG}


@READERS
def test_a_file_of_just_the_bound_is_read(module, bound, read, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, bound, 5)
    path = tmp_path / "photo"
    path.write_bytes(b"12345")
    assert read(path) == b"12345"


@READERS
def test_a_pipe_is_read(module, bound, read, tmp_path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"photo",))
    writer.start()
    assert read(path) == b"photo"
    writer.join()


def test_the_client_and_the_server_have_one_bound() -> None:
    assert input_files.MAX_FILE_BYTES == _codec._MAX_PHOTO_BYTES
