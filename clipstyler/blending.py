"""Blends a stylized photo with its photo: how strong the style is, and how much of the photo's colors is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_STRIP_PIXELS = 2**19
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def blend(photo: Pixels, stylized: Pixels, strength: float, preserve_color: float) -> Pixels:
    """Return a stylized photo with some of its photo in it. Strength 1 without colors is the stylized photo itself.

    Parameters
    ----------
    photo, stylized
        (H, W, 3).
    strength
        0 returns the photo; above 1 goes on beyond the style, on the same line.
    preserve_color
        Share of the photo's color differences (BT.601) that replaces those of the style. Luminance stays the style's.
    """
    if strength == 1 and preserve_color == 0:
        return stylized
    blended = np.empty_like(photo)
    step = max(1, _STRIP_PIXELS // photo.shape[1])
    for top in range(0, photo.shape[0], step):
        strip = slice(top, top + step)
        before, after = photo[strip].astype(np.float32), stylized[strip].astype(np.float32)
        after += preserve_color * (_chroma(before) - _chroma(after))
        blended[strip] = np.rint(np.clip(before + strength * (after - before), 0, 255))
    return blended


def mixed(one: Pixels, other: Pixels, share: float) -> Pixels:
    """Return what lies between two pictures (H, W, 3): `share` of the other one."""
    return blend(one, other, share, 0)


def _chroma(values: Floats) -> Floats:
    """Return how far each color lies from the luminance, (H, W, 3)."""
    return values - (values @ _LUMINANCE)[..., None]
