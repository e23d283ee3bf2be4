"""Encodings that are written. Light to import: the command and the specification need no image library."""

from __future__ import annotations

from enum import StrEnum


class ImageFormat(StrEnum):
    """Encoding of an image file."""

    JPEG = "jpeg"
    WEBP = "webp"
    PNG = "png"


LONGEST_SIDES = {ImageFormat.JPEG: 65_500, ImageFormat.WEBP: 16_383}
"""In pixels; PNG has no bound that matters."""
LARGEST_OUTPUT = min(LONGEST_SIDES.values())
"""Longest side of a result that can be asked for: every encoding has it."""
