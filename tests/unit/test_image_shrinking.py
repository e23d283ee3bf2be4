"""Pictures are shrunk while they are decoded: the same result in less memory."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipstyler.imaging import decode, decode_fitted, fit

PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
MEASURE = """
import resource, sys
from clipstyler.imaging import Limits, decode_fitted
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_fitted(data, 64)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def photo(mode: str = "RGB") -> Image.Image:
    image = Image.open(PHOTO)
    image.load()
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        return image
    return image.quantize(256) if mode == "P" else image.convert(mode)


def file_of(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


FILES = {
    "baseline JPEG": lambda: file_of(photo(), "JPEG", quality=95),
    "progressive JPEG": lambda: file_of(photo(), "JPEG", quality=95, progressive=True),
    "gray JPEG": lambda: file_of(photo("L"), "JPEG", quality=95),
    "CMYK JPEG": lambda: file_of(photo("CMYK"), "JPEG", quality=95),
    "PNG": lambda: file_of(photo()),
    "palette PNG": lambda: file_of(photo("P")),
    "transparent PNG": lambda: file_of(photo("RGBA")),
    "transparent WebP": lambda: file_of(photo("RGBA"), "WEBP", lossless=True),
    "CMYK TIFF": lambda: file_of(photo("CMYK"), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("size", [400, 200, 128, 50])
@pytest.mark.parametrize("name", FILES)
def test_a_reduced_picture_is_that_of_the_whole_image(name: str, size: int) -> None:
    data = FILES[name]()
    expected, picture = fit(decode(data), size), decode_fitted(data, size)
    assert picture.rgb.shape == expected.rgb.shape
    assert np.abs(picture.rgb.astype(int) - expected.rgb).mean() < 1
    assert (picture.alpha is None) == (expected.alpha is None)
    if picture.alpha is not None and expected.alpha is not None:
        assert np.abs(picture.alpha.astype(int) - expected.alpha).mean() < 1


def test_without_the_box_filter_the_result_is_exactly_that_of_one_resize() -> None:
    image = photo()
    expected = np.asarray(image.resize((200, 200), Image.Resampling.LANCZOS))
    assert np.array_equal(decode_fitted(file_of(image), 200).rgb, expected)


@pytest.mark.parametrize("name", ["baseline JPEG", "progressive JPEG", "PNG"])
def test_at_full_size_the_pixels_are_those_of_pillow(name: str) -> None:
    data = FILES[name]()
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data).rgb, expected)
    assert np.array_equal(decode_fitted(data, 10_000).rgb, expected)


def test_small_images_are_enlarged_only_when_asked() -> None:
    data = file_of(photo().resize((50, 30)))
    assert decode_fitted(data, 100).rgb.shape == (30, 50, 3)
    assert decode_fitted(data, 100, enlarge=True).rgb.shape == (60, 100, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_a_turned_image_is_fitted_as_it_is_displayed(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(photo().resize((400, 200)), image_format, exif=exif)
    expected = fit(decode(data), 100)
    picture = decode_fitted(data, 100)
    assert (picture.width, picture.height) == ((50, 100) if orientation > 4 else (100, 50))
    assert np.abs(picture.rgb.astype(int) - expected.rgb).mean() < 1


def test_the_colors_of_transparent_pixels_do_not_bleed() -> None:
    rgba = np.zeros((200, 200, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[:, ::2] = (255, 0, 0, 255)
    picture = decode_fitted(file_of(Image.fromarray(rgba)), 20)
    assert picture.alpha is not None
    assert np.abs(picture.alpha[5:15, 5:15].astype(int) - 128).max() <= 2
    assert np.abs(picture.rgb[10, 10].astype(int) - (255, 127, 127)).max() <= 2


@pytest.mark.parametrize(
    ("image_format", "bytes_per_pixel"), [("JPEG", 2), ("PNG", 5), ("TIFF", 5), ("WEBP", 13), ("AVIF", 10)]
)
def test_the_memory_of_a_large_image_is_bounded(tmp_path: Path, image_format: str, bytes_per_pixel: float) -> None:
    path = tmp_path / "large"
    side, options = 3_000, {"AVIF": {"speed": 10}, "TIFF": {"compression": "tiff_lzw"}}.get(image_format, {})
    path.write_bytes(file_of(Image.new("RGB", (side, side), (10, 100, 200)), image_format, **options))
    measured = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    assert int(measured.stdout) < bytes_per_pixel * side**2 / 2**20 + 20
