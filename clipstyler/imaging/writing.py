"""Encodes pictures."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipstyler.image_format import LONGEST_SIDES, ImageFormat
from clipstyler.imaging.values import EncodedImage, ImageError, Picture

# Compression of PNG: a large picture is not worth the many seconds that a few percent of its bytes cost.
_LARGE_PIXELS = 2**22
_FAST, _THOROUGH = 1, 6
_STRIP_PIXELS = 2**16


def encode(picture: Picture, image_format: ImageFormat, quality: int = 90) -> bytes:
    """Encode a picture; the same picture always gives the same bytes.

    Parameters
    ----------
    picture
        What to encode. PNG and WebP keep its alpha, with the colors that give the picture when they are shown on white,
        as far as there are any; JPEG shows it on white.
    image_format
        The encoding.
    quality
        Of JPEG and WebP, 1 to 100.

    Raises
    ------
    ImageError
        As `check_sides`.
    """
    buffer = io.BytesIO()
    encode_into(buffer, picture, image_format, quality)
    return buffer.getvalue()


def encode_into(file: BinaryIO, picture: Picture, image_format: ImageFormat, quality: int = 90) -> None:
    """Encode a picture as `encode` does, and write it to a file, a part at a time."""
    check_sides(picture.width, picture.height, image_format)
    is_opaque = picture.alpha is None or image_format is ImageFormat.JPEG
    image = Image.fromarray(picture.rgb if is_opaque else _taken_off_white(picture))
    image.save(file, format=image_format.value, **_options(picture, image_format, quality))


def _taken_off_white(picture: Picture) -> NDArray[np.uint8]:
    """Return what gives the picture when it is composited on white, (H, W, 4); black where it is too dark for that."""
    assert picture.alpha is not None
    pixels = np.empty((picture.height, picture.width, 4), np.uint8)
    pixels[..., 3] = picture.alpha
    step = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, step):
        rows = slice(top, top + step)
        alpha = picture.alpha[rows, :, None]
        opacity = np.where(alpha == 0, 255, alpha).astype(np.float32) / 255  # what is not seen keeps its color
        pixels[rows, :, :3] = np.rint(np.maximum(255 - (255 - picture.rgb[rows]) / opacity, 0))
    return pixels


def check_sides(width: int, height: int, image_format: ImageFormat) -> None:
    """Check that an encoding has pictures as large.

    Raises
    ------
    ImageError
        A side is too long for it.
    """
    longest = LONGEST_SIDES.get(image_format)
    if longest and max(width, height) > longest:
        problem = f"{width} x {height} px are too many for {image_format}, whose sides have {longest} px at most"
        raise ImageError(f"{problem}: choose png or a smaller output size")


def _options(picture: Picture, image_format: ImageFormat, quality: int) -> dict[str, int]:
    if image_format is not ImageFormat.PNG:
        return {"quality": quality}
    is_large = picture.width * picture.height > _LARGE_PIXELS
    return {"compress_level": _FAST if is_large else _THOROUGH}


def encoded(picture: Picture, image_format: ImageFormat, quality: int = 90) -> EncodedImage:
    """Encode a picture as `encode` does, and describe the file."""
    data = encode(picture, image_format, quality)
    return EncodedImage(data, image_format, picture.width, picture.height, hashlib.sha256(data).digest())
