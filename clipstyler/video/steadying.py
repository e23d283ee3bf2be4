"""Carries what was drawn along the motion of the video, so that texture follows things instead of flickering."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture
from clipstyler.video.motion import Motion, moved

Floats = NDArray[np.float32]

# How far the frame before, moved, may differ from this one, of 1: up to the first it is noise, from the second on
# nothing is carried over.
_NOISE, _OTHER = 0.03, 0.12
_AROUND = 5  # px: over which that is averaged


def steadied(
    number: int, frame: Picture, before: Picture, drawn: Picture, result: Picture, motion: Motion, share: float
) -> Picture:
    """Blend a drawn frame with the result before it, moved as the source moves.

    A network with strides answers motion by fractions of a stride with other texture. As in temporal antialiasing
    (Karis, SIGGRAPH 2014), a running average along the motion evens that out; where something comes into view, or the
    source does not look as it should, the drawn frame counts.

    Parameters
    ----------
    number
        Of the frame. Rounding is random, so that small differences fade too; it depends on this.
    frame, before
        Of the source, and the one before it.
    drawn
        The frame in its style.
    result
        That of the frame before.
    motion
        Between the two, at their size.
    share
        Of the result before, 0 to 1.
    """
    missed = np.abs(moved(_values(before), motion.flow) - _values(frame)).mean(axis=-1)
    missed = cv2.blur(missed, (_AROUND, _AROUND))
    weight = share * motion.is_seen * np.clip((_OTHER - missed) / (_OTHER - _NOISE), 0, 1)
    now = _values(drawn)
    blended = now + weight[..., None] * (moved(_values(result), motion.flow) - now)
    chance = np.random.Generator(np.random.Philox(key=number)).random(blended.shape, np.float32)
    return Picture(np.clip(np.floor(blended * 255 + chance), 0, 255).astype(np.uint8))


def _values(picture: Picture) -> Floats:
    return picture.rgb.astype(np.float32) / np.float32(255)
