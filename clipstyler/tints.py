"""The starting point of a stylization: the photo, or the photo in other colors if those match the text better.

A small encoder's gradients lead to the right texture from nearly anywhere, but seldom from one hue to another: between
them lie colors that match the text less than either. It can rank a few given colors, however, so a start from the
photo takes the best one, and the optimization continues from there. Not in the paper.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

Tint = Callable[[Tensor], Tensor]
"""Maps photos (B, 3, H, W) in [0, 1] to the same in other colors; the light keeps its order, or is turned round."""

Rgb = tuple[float, float, float]

# ITU-R BT.601 weights, as torchvision's grayscale has them.
_LUMA = (0.2989, 0.587, 0.114)
_HUES = 8
_LIGHTNESS, _SATURATION = 0.5, 0.9


def luminance(photos: Tensor) -> Tensor:
    """Luminance of (B, 3, H, W): (B, 1, H, W)."""
    return (photos * _color(_LUMA, photos.device, photos.dtype)).sum(dim=1, keepdim=True)


def tints() -> tuple[Tint, ...]:
    """Return all candidates, the unchanged photo first: livelier, pale, grays, and every hue dark, full and pale."""
    colors = [colorsys.hls_to_rgb(i / _HUES, _LIGHTNESS, _SATURATION) for i in range(_HUES)]
    hues = [partial(_hue, rgb=rgb, gain=gain, lift=lift) for rgb in colors for gain, lift in _RANGES]
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


@cache
def _color(rgb: Rgb, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A color as (1, 3, 1, 1), copied to a device once: the host waits for a GPU at each copy."""
    return torch.tensor(rgb, device=device, dtype=dtype).view(1, 3, 1, 1)


def _hue(photos: Tensor, rgb: Rgb, gain: float, lift: float) -> Tensor:
    """Map luminance from black through the color to white, within a range."""
    color, light = _color(rgb, photos.device, photos.dtype), 2 * luminance(photos)
    toned = torch.where(light < 1, color * light, color + (1 - color) * (light - 1))
    return gain * toned + lift
