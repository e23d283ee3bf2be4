"""Carries what was drawn along the motion of the video, so that texture follows things instead of flickering."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture
from clipstyler.video.motion import flow_between, is_visible_in_both, moved

Floats = NDArray[np.float32]

_TOLERANCE = 0.06  # of 1: how far a frame may differ from the moved one before it until little is carried over


class Steadier:
    """Blends each drawn frame with the result before it, moved as the source moves.

    A network with strides answers motion by fractions of a stride with other texture, and noise on its input stays
    where it is on the screen. As in temporal antialiasing (Karis, SIGGRAPH 2014), a running average along the motion
    evens both out; where something comes into view, or the source does not look as it should, the drawn frame counts.

    Parameters
    ----------
    share
        Of the result before, 0 (off) to under 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._before: tuple[Picture, Picture] | None = None

    def steady(self, frame: Picture, drawn: Picture) -> Picture:
        """Return a drawn frame in agreement with the one before it.

        Parameters
        ----------
        frame
            Of the source.
        drawn
            The same in its style, of the same size.
        """
        result = drawn if self._before is None or not self._share else self._blended(frame, drawn, *self._before)
        self.resume(frame, result)
        return result

    def resume(self, frame: Picture, result: Picture) -> None:
        """Go on after a frame whose result is there already."""
        self._before = frame, result

    def begin_shot(self) -> None:
        """Forget what was before."""
        self._before = None

    def _blended(self, frame: Picture, drawn: Picture, before: Picture, result: Picture) -> Picture:
        flow = flow_between(frame, before)
        is_seen = is_visible_in_both(flow, flow_between(before, frame))
        missed = np.abs(moved(_values(before), flow) - _values(frame)).mean(axis=-1)
        weight = self._share * is_seen * np.exp(-np.square(missed / _TOLERANCE))
        now = _values(drawn)
        blended = now + weight[..., None] * (moved(_values(result), flow) - now)
        return Picture(np.rint(np.clip(blended, 0, 1) * 255).astype(np.uint8))


def _values(picture: Picture) -> Floats:
    return picture.rgb.astype(np.float32) / 255
