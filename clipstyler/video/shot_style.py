"""A style on the frames of one shot: its statistics are fixed once, so that no frame is drawn by its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from clipstyler.blending import blend
from clipstyler.events import Rendering
from clipstyler.imaging import Picture
from clipstyler.interruption import Check, never
from clipstyler.style_applying import LoadedStyle, drawn_with, fixed_to
from clipstyler.style_controls import StyleControls


class ShotStyle:
    """A style whose normalization is fixed to a shot.

    Instance normalization follows whatever comes into the picture: applied to each frame anew, a style flickers.

    Parameters
    ----------
    style
        What is applied.
    key_frames
        Frames that stand for the shot, of one size: mean and deviation come from all of them together.
    controls
        How it is applied; `mix` and `output_size` are not used.
    check
        Called between the layers: an exception of it stops the work and reaches the caller.
    """

    def __init__(
        self, style: LoadedStyle, key_frames: Sequence[Picture], controls: StyleControls, check: Check = never
    ) -> None:
        self._style = style
        self._controls = controls
        self._check = check
        self._fixed = fixed_to(style, key_frames, check)

    def draw(self, frame: Picture) -> Generator[Rendering, None, Picture]:
        """Draw a frame at its own size; yields before the first tile and after each."""
        controls = self._controls
        if controls.strength == 0:
            return frame
        drawn = yield from drawn_with(self._fixed, self._style.description, frame, self._check)
        return Picture(blend(frame.rgb, drawn.rgb, controls.strength, controls.preserve_color))
