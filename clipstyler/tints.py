"""The starting point of a stylization: the photo, or the photo in other colors if those match the text better.

A small encoder's gradients lead to the right texture from nearly anywhere, but seldom from one hue to another: between
them lie colors that match the text less than either. It can rank a few given colors, however, so a start from the
photo takes the best one, and the optimization continues from there. Not in the paper.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Tint = Callable[[Tensor], Tensor]
"""Maps photos (B, 3, H, W) in [0, 1] to the same in other colors; the light keeps its order, or is turned round."""

# ITU-R BT.601 weights, as torchvision's grayscale has them.
_LUMA = (0.2989, 0.587, 0.114)
_HUES = 8
_LIGHTNESS, _SATURATION = 0.5, 0.9


def luminance(photos: Tensor) -> Tensor:
    """Luminance of (B, 3, H, W): (B, 1, H, W)."""
    weights = torch.tensor(_LUMA, device=photos.device, dtype=photos.dtype).view(1, 3, 1, 1)
    return (photos * weights).sum(dim=1, keepdim=True)


def tints() -> tuple[Tint, ...]:
    """Return all candidates, the unchanged photo first: livelier, pale, grays, and every hue dark, full and pale."""
    colors = [torch.tensor(colorsys.hls_to_rgb(i / _HUES, _LIGHTNESS, _SATURATION)) for i in range(_HUES)]
    hues = [partial(_hue, color=c.view(1, 3, 1, 1), gain=gain, lift=lift) for c in colors for gain, lift in _RANGES]
    return (_unchanged, _lively, _pale, *(partial(_gray, power=power) for power in (1.0, 0.5, 2.0)), _negative, *hues)


_RANGES = ((0.5, 0.0), (1.0, 0.0), (0.5, 0.5))  # gain and lift: dark, full, pale


def _unchanged(photos: Tensor) -> Tensor:
    return photos


def _lively(photos: Tensor) -> Tensor:
    gray = luminance(photos)
    return (gray + 2 * (photos - gray)).clamp(0, 1)


def _pale(photos: Tensor) -> Tensor:
    return 0.6 + 0.4 * photos


def _gray(photos: Tensor, power: float) -> Tensor:
    return luminance(photos).pow(power).expand_as(photos)


def _negative(photos: Tensor) -> Tensor:
    return (1 - luminance(photos)).expand_as(photos)


def _hue(photos: Tensor, color: Tensor, gain: float, lift: float) -> Tensor:
    """Map luminance from black through the color to white, within a range."""
    color, light = color.to(photos), 2 * luminance(photos)
    toned = torch.where(light < 1, color * light, color + (1 - color) * (light - 1))
    return gain * toned + lift
