"""What a step draws at random: which views of an image CLIP sees. Drawn on the CPU, used on any device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ViewChoice(NamedTuple):
    """Which views of an image a step looks at; None for what it has none of.

    Attributes
    ----------
    origins
        Upper left corners of the crops, float64 (N, 2) as (x, y).
    matrices
        Their perspectives, from views to crops, float64 (N, 3, 3).
    move
        How far the image is moved before it is seen as a whole, int64 (2,) as (x, y).
    """

    origins: Tensor | None = None
    matrices: Tensor | None = None
    move: Tensor | None = None

    def to(self, device: torch.device) -> ViewChoice:
        """Return the same on a device; the host does not wait for a copy to a GPU."""
        return ViewChoice(*(None if part is None else _sent(part, device) for part in self))

    def copy_from(self, other: ViewChoice) -> None:
        """Overwrite this choice in place by another one with the same parts."""
        for mine, theirs in zip(self, other, strict=True):
            if mine is not None and theirs is not None:
                mine.copy_(_staged(theirs, mine.device), non_blocking=True)


def _sent(part: Tensor, device: torch.device) -> Tensor:
    return _staged(part, device).to(device, non_blocking=True)


def _staged(part: Tensor, device: torch.device) -> Tensor:
    """Return values where a device copies them from without the host: in pinned memory for a GPU."""
    return part.pin_memory() if device.type == "cuda" else part
