"""Encodings that are written. Light to import: the command and the specification need no image library."""

from __future__ import annotations

from enum import StrEnum


class ImageFormat(StrEnum):
    """Encoding of an image file."""

    JPEG = "jpeg"
    WEBP = "webp"
    PNG = "png"
