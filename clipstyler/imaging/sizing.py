"""Resizes pictures, aspect kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipstyler.imaging.values import Picture


def fitted_size(width: int, height: int, size: int, enlarge: bool = False) -> tuple[int, int]:
    """Width and height after fitting the longest side to `size` pixels, aspect kept, no side under 1 px."""
    scale = size / max(width, height)
    if scale > 1 and not enlarge:
        scale = 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def fit(picture: Picture, size: int, enlarge: bool = False) -> Picture:
    """Resize so that the longest side is `size` pixels, aspect kept; smaller images only when `enlarge`."""
    return resized(picture, fitted_size(picture.width, picture.height, size, enlarge))


def shrink(picture: Picture, max_size: int) -> Picture:
    """Resize so that no side is longer than `max_size` pixels, aspect kept; never enlarges."""
    return fit(picture, max_size)


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize to a width and height."""
    if size == (picture.width, picture.height):
        return picture

    def plane(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

    return Picture(plane(picture.rgb), None if picture.alpha is None else plane(picture.alpha), picture.warnings)
