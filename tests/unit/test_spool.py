"""Pixels and results in files between processes."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from clipstyler_server import spool
from clipstyler_server.spool import Spool, write_pixels

from clipstyler.imaging import Picture


@pytest.mark.parametrize("has_alpha", [False, True])
def test_pixels_come_back_as_they_were(tmp_path: Path, has_alpha: bool) -> None:
    rng = np.random.default_rng(0)
    alpha = rng.integers(0, 256, (5, 7), dtype=np.uint8) if has_alpha else None
    picture = Picture(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), alpha)
    loaded = write_pixels(picture, Spool(tmp_path / "new").photo("job", 1)).load()
    assert np.array_equal(loaded.rgb, picture.rgb)
    assert (loaded.alpha is None) == (alpha is None)
    if alpha is not None:
        assert np.array_equal(loaded.alpha, alpha)


def test_files_are_for_their_owner_only_and_are_cleared(tmp_path: Path) -> None:
    place = Spool(tmp_path / "spool")
    with spool.create(place.result("job")) as file:
        file.write(b"a result")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (place.directory, place.result("job"))]
    assert modes == [0o700, 0o600]
    place.clear()
    place.clear()
    assert not place.directory.exists()


def test_pixels_that_cannot_be_written_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _data: object) -> int:
            raise OSError(28, "No space left on device")

    target = tmp_path / "photo"
    target.touch()
    monkeypatch.setattr(spool, "create", lambda _path: Full())
    with pytest.raises(OSError, match="No space"):
        write_pixels(Picture(np.zeros((2, 2, 3), np.uint8)), target)
    assert not target.exists()
