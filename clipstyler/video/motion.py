"""Optical flow between two frames, and images moved by it. OpenCV does the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture, fit

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIDE = 512  # px, longest, at which flow is sought
_SMALLEST_SIDE = 16  # px: smaller frames have no flow that could be found


@dataclass(frozen=True)
class Motion:
    """How a frame moved since the one before it.

    Attributes
    ----------
    flow
        Where each of its pixels lies in the frame before, in pixels to the right and down: (H, W, 2).
    is_seen
        Where both frames show the same, (H, W).
    """

    flow: Floats
    is_seen: Mask

    @classmethod
    def between(cls, frame: Picture, before: Picture) -> Motion:
        """Find the motion, at 512 px at most."""
        small = [fit(picture, _SIDE) for picture in (frame, before)]
        flow = flow_between(*small)
        return cls(flow, is_visible_in_both(flow, flow_between(*small[::-1])))

    def at(self, width: int, height: int) -> Motion:
        """Return the same motion of frames of another size."""
        rows, columns = self.is_seen.shape
        if (width, height) == (columns, rows):
            return self
        with _one_thread():
            flow = np.asarray(cv2.resize(self.flow, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
            is_seen = cv2.resize(self.is_seen.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return Motion(flow * np.array([width / columns, height / rows], np.float32), is_seen.astype(np.bool_))


def flow_between(frame: Picture, other: Picture) -> Floats:
    """Find where each pixel of a frame lies in another one of the same size: (H, W, 2), pixels to the right and down.

    Dense inverse search (Kroeger et al., ECCV 2016), down to single pixels: at its usual finest scale, of two pixels,
    its error is twice as large.
    """
    height, width = frame.rgb.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    grays = [cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY) for picture in (frame, other)]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    with _one_thread():
        return np.asarray(search.calc(*grays, None), np.float32)


def moved(image: Floats, flow: Floats) -> Floats:
    """Look an image, (H, W, 3), up where a flow points: what another frame shows, in the places of this one."""
    with _one_thread():
        found = cv2.remap(image, *places_of(flow), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def is_visible_in_both(there: Floats, back: Floats) -> Mask:
    """Return where the flow to another frame and the one from it back agree, (H, W).

    Elsewhere something is covered in one of the frames, or lies outside of it (Sundaram et al., ECCV 2010, with the
    constants of Ruder et al., "Artistic style transfer for videos", 2016).
    """
    height, width = there.shape[:2]
    columns, rows = places_of(there)
    with _one_thread():
        returned = cv2.remap(back, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = np.square(there + returned).sum(axis=-1)
    length = np.square(there).sum(axis=-1) + np.square(returned).sum(axis=-1)
    is_inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    return np.asarray(is_inside & (missed <= 0.01 * length + 0.5), np.bool_)


def places_of(flow: Floats) -> tuple[Floats, Floats]:
    """Return the columns and rows where a flow points, (H, W) each."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let OpenCV use one thread: with more, the flow depends on their number."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
