"""Optical flow between two frames, and images moved by it. OpenCV does the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture, fit

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIDE = 512  # px, longest: flow is sought at this size and enlarged for larger frames
_SMALLEST_SIDE = 16  # px: smaller frames have no flow that could be found


def flow_between(frame: Picture, other: Picture) -> Floats:
    """Find where each pixel of a frame lies in another one.

    Parameters
    ----------
    frame, other
        Of the same size.

    Returns
    -------
    How far, in pixels to the right and down: (H, W, 2). Dense inverse search (Kroeger et al., ECCV 2016).
    """
    height, width = frame.rgb.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        return np.zeros((height, width, 2), np.float32)
    grays = [cv2.cvtColor(fit(picture, _SIDE).rgb, cv2.COLOR_RGB2GRAY) for picture in (frame, other)]
    with _one_thread():
        found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grays, None)  # type: ignore[call-overload]
        if found.shape[:2] != (height, width):
            scale = np.array([width / found.shape[1], height / found.shape[0]], np.float32)
            found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    return np.asarray(found, np.float32)


def moved(image: Floats, flow: Floats) -> Floats:
    """Look an image, (H, W, 3), up where a flow points: what another frame shows, in the places of this one."""
    with _one_thread():
        found = cv2.remap(image, *_places(flow), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def is_visible_in_both(there: Floats, back: Floats) -> Mask:
    """Return where the flow to another frame and the one from it back agree, (H, W).

    Elsewhere something is covered in one of the frames, or lies outside of it (Sundaram et al., ECCV 2010, with the
    constants of Ruder et al., "Artistic style transfer for videos", 2016).
    """
    height, width = there.shape[:2]
    with _one_thread():
        returned = cv2.remap(back, *_places(there), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = np.square(there + returned).sum(axis=-1)
    length = np.square(there).sum(axis=-1) + np.square(returned).sum(axis=-1)
    columns, rows = _places(there)
    is_inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    return np.asarray(is_inside & (missed <= 0.01 * length + 0.5), np.bool_)


def _places(flow: Floats) -> tuple[Floats, Floats]:
    """Return the columns and rows where a flow points."""
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
