"""The frames of one shot in a style, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from clipstyler.blending import blend
from clipstyler.events import Rendering
from clipstyler.imaging import Picture, fit
from clipstyler.interruption import Check, never
from clipstyler.style_applying import LoadedStyle, drawn_with, fixed_to
from clipstyler.style_controls import StyleControls
from clipstyler.video.motion import Motion
from clipstyler.video.moving_noise import MovingNoise
from clipstyler.video.steadying import steadied


class ShotDrawing:
    """A style on one shot: its statistics are fixed to the shot, and its texture moves with the video.

    Instance normalization follows whatever comes into the picture: applied to each frame anew, a style flickers.

    Parameters
    ----------
    style
        What is applied.
    key_frames
        Frames that stand for the shot, of one size: mean and deviation come from all of them together.
    controls
        How it is applied; `mix` and `output_size` are not used.
    steadiness
        Share of the result before that is carried along the motion, 0 to under 1; 0: each frame is drawn alone, and the
        noise stays where it is.
    check
        Called between the layers: an exception of it stops the work and reaches the caller.
    """

    def __init__(
        self,
        style: LoadedStyle,
        key_frames: Sequence[Picture],
        controls: StyleControls,
        steadiness: float,
        check: Check = never,
    ) -> None:
        self._description = style.description
        self._controls = controls
        self._steadiness = steadiness
        self._check = check
        self._fixed = fixed_to(style, key_frames, check)
        self._number = 0
        self._frame: Picture | None = None  # the latest one
        self._result: Picture | None = None
        self._noise: MovingNoise | None = None

    def draw(self, frame: Picture) -> Generator[Rendering, None, Picture]:
        """Draw the next frame at its own size; yields before the first tile and after each."""
        before, result = self._frame, self._result
        motion = self._follow(frame)
        drawn = yield from self._drawn(frame)
        if motion and before and result:
            at_size = motion.at(frame.width, frame.height)
            drawn = steadied(self._number, frame, before, drawn, result, at_size, self._steadiness)
        self._result = drawn
        return drawn

    def skip(self, frame: Picture, result: Picture) -> None:
        """Go on after the next frame, whose result is there already."""
        self._follow(frame)
        self._result = result

    def _follow(self, frame: Picture) -> Motion | None:
        """Take a frame, and let the noise follow its motion; None for the first one, and if all are drawn alone."""
        before, self._frame = self._frame, frame
        self._number += 1
        if not self._steadiness:
            return None
        if before is None or self._noise is None:
            seen, described = fit(frame, self._description.size), self._description
            self._noise = MovingNoise(described.seed, described.noise_octaves, seen.width, seen.height)
            return None
        motion = Motion.between(frame, before)
        self._noise.follow(motion)
        return motion

    def _drawn(self, frame: Picture) -> Generator[Rendering, None, Picture]:
        controls = self._controls
        if controls.strength == 0:
            return frame
        fixed = replace(self._fixed, noise=self._noise) if self._noise else self._fixed
        drawn = yield from drawn_with(fixed, self._description, frame, self._check)
        return Picture(blend(frame.rgb, drawn.rgb, controls.strength, controls.preserve_color))
