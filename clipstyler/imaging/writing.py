"""Encodes pictures."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from PIL import Image

from clipstyler.image_format import ImageFormat
from clipstyler.imaging.values import EncodedImage, Picture

# Compression of PNG: a large picture is not worth the many seconds that a few percent of its bytes cost.
_LARGE_PIXELS = 2**22
_FAST, _THOROUGH = 1, 6


def encode(picture: Picture, image_format: ImageFormat, quality: int = 90) -> bytes:
    """Encode a picture; the same picture always gives the same bytes.

    Parameters
    ----------
    picture
        What to encode. Its alpha is kept in PNG and WebP; JPEG shows it on white.
    image_format
        The encoding.
    quality
        Of JPEG and WebP, 1 to 100.
    """
    buffer = io.BytesIO()
    encode_into(buffer, picture, image_format, quality)
    return buffer.getvalue()


def encode_into(file: BinaryIO, picture: Picture, image_format: ImageFormat, quality: int = 90) -> None:
    """Encode a picture as `encode` does, and write it to a file, a part at a time."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None and image_format is not ImageFormat.JPEG:
        image.putalpha(Image.fromarray(picture.alpha))
    image.save(file, format=image_format.value, **_options(picture, image_format, quality))


def _options(picture: Picture, image_format: ImageFormat, quality: int) -> dict[str, int]:
    if image_format is not ImageFormat.PNG:
        return {"quality": quality}
    is_large = picture.width * picture.height > _LARGE_PIXELS
    return {"compress_level": _FAST if is_large else _THOROUGH}


def encoded(picture: Picture, image_format: ImageFormat, quality: int = 90) -> EncodedImage:
    """Encode a picture as `encode` does, and describe the file."""
    data = encode(picture, image_format, quality)
    return EncodedImage(data, image_format, picture.width, picture.height, hashlib.sha256(data).digest())
