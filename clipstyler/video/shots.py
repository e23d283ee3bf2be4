"""Finds the shots of a video, one frame at a time."""

from __future__ import annotations

import statistics
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_SEEN = (32, 18)  # width and height of what is compared: too coarse for motion, fine enough for another scene
_LEAST_CHANGE = 0.08  # mean difference of two frames, of 1, below which nothing is a cut
_JUMP = 4.0  # times the usual difference of the frames before
_USUAL = 12  # frames whose differences are usual
_SHORTEST = 6  # frames of a shot: a flash or a glitch makes no two cuts


class Shot(NamedTuple):
    """A shot: its first frame, counted from 0, and the one after its last."""

    first: int
    end: int


class CutFinder:
    """Finds hard cuts: frames that differ from the one before much more than is usual in their shot.

    Fades and dissolves are no cuts: the statistics of one shot then serve both sides.
    """

    def __init__(self) -> None:
        self._before: Floats | None = None
        self._changes: deque[float] = deque(maxlen=_USUAL)
        self._length = 0

    def begins_shot(self, rgb: Pixels) -> bool:
        """Take the next frame, (H, W, 3); returns whether a shot begins with it, as with the first one."""
        seen = np.asarray(Image.fromarray(rgb).resize(_SEEN, Image.Resampling.BOX), np.float32) / np.float32(255)
        before, self._before = self._before, seen
        if before is not None:
            change = float(np.abs(seen - before).mean())
            usual = statistics.median(self._changes) if self._changes else 0.0
            if self._length < _SHORTEST or change <= max(_LEAST_CHANGE, _JUMP * usual):
                self._changes.append(change)
                self._length += 1
                return False
        self._changes.clear()
        self._length = 1
        return True
