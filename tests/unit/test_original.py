"""How large a result is, and the photo at that size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clipstyler.config import Calibration, resolve
from clipstyler.imaging import ImageError, Limits, Picture, decode_fitted
from clipstyler.original import Original, result_size


@pytest.mark.parametrize(
    ("options", "photo", "expected"),
    [
        ({}, (4000, 3000), (4000, 3000)),
        ({}, (100, 80), (100, 80)),
        ({"enlarge": True}, (100, 80), (256, 205)),
        ({"output_size": 1000}, (4000, 3000), (1000, 750)),
        ({"output_size": 1000}, (400, 300), (400, 300)),
        ({"output_size": 1000, "enlarge": True}, (400, 300), (1000, 750)),
        ({"output_size": 100}, (400, 300), (100, 75)),
        ({"output_size": 5}, (4000, 1), (5, 1)),
    ],
)
def test_a_result_is_as_large_as_its_photo_unless_another_size_is_asked_for(
    options: dict[str, object], photo: tuple[int, int], expected: tuple[int, int]
) -> None:
    config = resolve(Calibration(), size=256, **options)
    assert result_size(config, *photo) == expected
    blank = Original.of_picture(Picture(np.zeros((photo[1], photo[0], 3), np.uint8)), config)
    assert (blank.width, blank.height) == expected
    loaded = blank.load()
    assert (loaded.width, loaded.height) == expected


def test_a_file_is_read_upright_and_decoded_when_it_is_needed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(buffer, "JPEG", exif=exif)
    config = resolve(Calibration(), size=64, output_size=80)
    original = Original.of_file(buffer.getvalue(), config)
    assert (original.width, original.height) == (53, 80)
    assert np.array_equal(original.load().rgb, decode_fitted(buffer.getvalue(), 80).rgb)
    with pytest.raises(ImageError, match="more than the limit"):
        Original.of_file(buffer.getvalue(), config, Limits(max_pixels=100))
