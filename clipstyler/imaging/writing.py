"""Encodes pictures."""

from __future__ import annotations

import hashlib
import io

from PIL import Image

from clipstyler.image_format import ImageFormat
from clipstyler.imaging.values import EncodedImage, Picture


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
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None and image_format is not ImageFormat.JPEG:
        image.putalpha(Image.fromarray(picture.alpha))
    buffer = io.BytesIO()
    options = {} if image_format is ImageFormat.PNG else {"quality": quality}
    image.save(buffer, format=image_format.value, **options)
    return buffer.getvalue()


def encoded(picture: Picture, image_format: ImageFormat, quality: int = 90) -> EncodedImage:
    """Encode a picture as `encode` does, and describe the file."""
    data = encode(picture, image_format, quality)
    return EncodedImage(data, image_format, picture.width, picture.height, hashlib.sha256(data).digest())
