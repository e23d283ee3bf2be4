"""How steady a stylized video is, beside its source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Picture, fit, resized
from clipstyler.video.motion import Motion, moved

Floats = NDArray[np.float32]

_SIDE = 512  # px, longest, at which is measured


@dataclass(frozen=True)
class Steadiness:
    """What changes from frame to frame within shots, on average.

    Attributes
    ----------
    warping_error, source_warping_error
        Mean squared difference, of 1, of a frame and the one before it moved along the source's motion, where both
        show the same (Lai et al., "Learning blind video temporal consistency", ECCV 2018): of the result and of the
        source itself, whose own error is noise, changing light, resampling and mistakes of the flow.
    frame_difference, source_frame_difference
        Mean absolute difference, of 1, of a frame and the one before it, nothing moved.
    pairs
        Frames that were compared with the one before.
    """

    warping_error: float
    source_warping_error: float
    frame_difference: float
    source_frame_difference: float
    pairs: int

    @property
    def warping_ratio(self) -> float | None:
        """How many times as large as the source's the warping error is; None if that has none."""
        return self.warping_error / self.source_warping_error if self.source_warping_error else None

    @property
    def difference_ratio(self) -> float | None:
        """How many times as large as the source's the frame difference is; None if that has none."""
        return self.frame_difference / self.source_frame_difference if self.source_frame_difference else None


class SteadinessMeter:
    """Measures a result beside its source, one frame of both at a time, at 512 px at most."""

    def __init__(self) -> None:
        self._before: tuple[Picture, Picture] | None = None
        self._sums = np.zeros(4)
        self._pairs = 0

    def add(self, source: Picture, result: Picture, *, begins_shot: bool = False) -> None:
        """Take the next frame of both; the source is resized to the result. The first of a shot is compared to none."""
        shown = fit(result, _SIDE)
        frame = resized(source, (shown.width, shown.height))
        before, self._before = self._before, (frame, shown)
        if before is None or begins_shot:
            return
        motion = Motion.between(frame, before[0])
        pairs = [(shown, before[1]), (frame, before[0])]
        errors = [warping_error(now, past, motion) for now, past in pairs]
        differences = [float(np.abs(_values(now) - _values(past)).mean()) for now, past in pairs]
        self._sums += [*errors, *differences]
        self._pairs += 1

    def result(self) -> Steadiness:
        """Return the averages."""
        error, source_error, difference, source_difference = (self._sums / max(1, self._pairs)).tolist()
        return Steadiness(error, source_error, difference, source_difference, self._pairs)


def warping_error(frame: Picture, before: Picture, motion: Motion) -> float:
    """Return the mean squared difference, of 1, of a frame and the one before moved, where both show the same."""
    if not motion.is_seen.any():
        return 0.0
    return float(np.square(_values(frame) - moved(_values(before), motion.flow))[motion.is_seen].mean())


def _values(picture: Picture) -> Floats:
    return picture.rgb.astype(np.float32) / np.float32(255)
