"""Two neighboring frames of a video while a style is fitted: what is drawn should change as little as they do."""

from __future__ import annotations

import torch
from torch import Tensor

from clipstyler.imaging import Picture, resized
from clipstyler.losses import frame_difference_loss
from clipstyler.pixels import padded
from clipstyler.run_state import RunState


class FramePair:
    """A frame that is fitted to, and the frame before it.

    Both have the same noise on their input, as frames of a video have when the style is applied.

    Parameters
    ----------
    state
        The run of the frame.
    before
        The frame before it in its video.
    """

    def __init__(self, state: RunState, before: Picture) -> None:
        height, width = state.size
        photo = padded(resized(before, (width, height)), state.canvas).to(state.photo.device)
        self._state = state
        self._inputs = (state.input, photo + (state.input - state.photo))
        with torch.no_grad():
            self._photo_change = self._change(state.photo, photo)

    def backpropagate(self, weight: float) -> None:
        """Add the gradients of the weighted temporal loss to the network's weights."""
        (weight * self.loss()).backward()

    def loss(self) -> Tensor:
        """Return the temporal loss of the network as it is now, before its weight."""
        net, is_banded = self._state.net, self._state.is_banded
        drawn = [net(image, banded=is_banded) for image in self._inputs]
        return frame_difference_loss(self._change(*drawn), self._photo_change)

    def _change(self, frame: Tensor, before: Tensor) -> list[Tensor]:
        """Return the difference of two frames in the space of pixels, and in those of content features."""
        return [now - past for now, past in zip(self._spaces(frame), self._spaces(before), strict=True)]

    def _spaces(self, image: Tensor) -> list[Tensor]:
        height, width = self._state.canvas
        seen = image[..., :height, :width]
        return [seen, *self._state.encoders.content.features(seen, mirrored=self._state.mirrored)]
