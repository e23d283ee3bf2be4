"""Noise on a network's input that moves with the video.

Noise that stays on the screen makes texture that things slide under, and noise that is drawn anew makes it flicker.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clipstyler.input_noise import positional_octaves
from clipstyler.video.motion import Motion, places_of

Floats = NDArray[np.float32]

_SHEET = 1024  # px: side of the noise; it goes on as its mirror image


class MovingNoise:
    """Each pixel has a place in one large sheet of noise, and takes it along as it moves.

    Places are moved, not values: noise that is interpolated again and again would fade.

    Parameters
    ----------
    seed, octaves
        Of the noise; before the first motion it is `positional_octaves`.
    width, height
        Of a frame as motion is followed: the size at which the style was fitted.
    """

    def __init__(self, seed: int, octaves: int, width: int, height: int) -> None:
        self._sheet = positional_octaves(seed, octaves, slice(0, _SHEET), slice(0, _SHEET))
        self._shift: Floats = np.zeros((height, width, 2), np.float32)  # from a pixel to its place

    def follow(self, motion: Motion) -> None:
        """Move on to the next frame."""
        height, width = self._shift.shape[:2]
        flow = motion.at(width, height).flow
        # Beyond the border the shift is that of the border, so that what comes in continues the sheet.
        self._shift = _looked_up(self._shift, *places_of(flow)) + flow

    def part(self, size: tuple[int, ...], rows: slice, columns: slice) -> Floats:
        """Return the noise of a part, (3, H, W), of the frame at a height and width: as fine as its pixels."""
        y, x = (np.arange(part.start, part.stop, dtype=np.float32) for part in (rows, columns))
        scale = np.array([size[1] / self._shift.shape[1], size[0] / self._shift.shape[0]], np.float32)
        grid = np.meshgrid((x + 0.5) / scale[0] - 0.5, (y + 0.5) / scale[1] - 0.5)
        shift = _looked_up(self._shift, *grid) * scale
        return self._sheet[:, _mirrored(y[:, None] + shift[..., 1]), _mirrored(x + shift[..., 0])]


def _looked_up(values: Floats, columns: Floats, rows: Floats) -> Floats:
    """Return values, (H, W, 2), interpolated at some places."""
    found = cv2.remap(values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _mirrored(places: Floats) -> NDArray[np.intp]:
    """Return the nearest pixels of the sheet, which goes on as its mirror image."""
    wrapped = np.rint(places).astype(np.intp) % (2 * _SHEET)
    return np.minimum(wrapped, 2 * _SHEET - 1 - wrapped)
