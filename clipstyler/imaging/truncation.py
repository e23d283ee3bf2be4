"""Finds out how much is missing of a JPEG without an end marker."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from clipstyler.imaging.values import ImageError

_ENDING = b"\xff\xd9"
_OTHER_ENDING = bytes(range(1, 255)) * 16 + _ENDING
_WORKING_SIZE = (1_024, 1_024)
_MISSING_SHARE = 0.05
_BLOCK = 17
"""Rows of the largest blocks, and the row above, whose colors are interpolated."""


def refuse_missing_rows(data: bytes) -> None:
    """Refuse a JPEG that lacks more than its end marker and a few of its last rows.

    It is decoded twice with different bytes after its end: the results differ in the missing rows.
    """
    with_one, with_other = _rows(data + _ENDING), _rows(data + _OTHER_ENDING)
    differing = np.flatnonzero((with_one != with_other).reshape(len(with_one), -1).any(axis=1))
    missing = len(with_one) - differing[0] if len(differing) else 0
    if missing > max(_BLOCK, _MISSING_SHARE * len(with_one)):
        raise ImageError(
            f"the image is truncated: about {missing * 100 // len(with_one)} % of its rows are missing; "
            "send a complete file"
        )


def _rows(data: bytes) -> NDArray[np.uint8]:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        image.draft(None, _WORKING_SIZE)
        image.load()
        return np.asarray(image)
