"""Files that travel between machines: photo and mask of a job arrive as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clipstyler_server.spool import Spool, write_mask, write_pixels
from clipstyler_server.workers.cluster.parcels import files_in, pack_command, unpack_command
from clipstyler_server.workers.messages import PhotoReady

from clipstyler.imaging import Picture


@pytest.mark.parametrize("has_mask", [True, False])
def test_photo_and_mask_arrive_as_they_were(tmp_path: Path, has_mask: bool) -> None:
    here, rng = Spool(tmp_path / "here"), np.random.default_rng(0)
    picture = Picture(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.integers(0, 256, (5, 7), dtype=np.uint8))
    levels = rng.integers(0, 256, (5, 7), dtype=np.uint8)
    photo = write_pixels(picture, here.photo("job", 1))
    mask = write_mask(levels, here.mask("job", 1)) if has_mask else None

    packed = pack_command(PhotoReady("job", photo, mask))
    for path in (tmp_path / "here").iterdir():
        path.unlink()
    arrived = unpack_command(packed, tmp_path / "there")
    assert np.array_equal(arrived.photo.load().rgb, picture.rgb)
    assert np.array_equal(arrived.photo.load().alpha, picture.alpha)
    assert arrived.mask is None if mask is None else np.array_equal(arrived.mask.load(), levels)
    assert len(list((tmp_path / "there").iterdir())) == 1 + has_mask


def test_a_problem_travels_as_it_is() -> None:
    assert pack_command(PhotoReady("job", "is broken")) == PhotoReady("job", "is broken")


def test_further_photos_of_a_job_lie_beside_each_other(tmp_path: Path) -> None:
    here, arrived = Spool(tmp_path / "here"), []
    for number in range(3):
        picture = Picture(np.full((4, 4, 3), number, np.uint8))
        ready = PhotoReady("job", write_pixels(picture, here.photo("job", number)), number=number)
        arrived.append(unpack_command(pack_command(ready), tmp_path / "there"))
    assert [int(ready.photo.load().rgb.max()) for ready in arrived] == [0, 1, 2]
    assert len(files_in(tmp_path / "there", "job")) == 3
