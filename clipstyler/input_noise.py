"""Noise on StyleNet's input: something to make texture from where a photo has nothing. Not in the paper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_MARGIN = 2  # cells around a coarse grid, so that its interpolation needs no border


def octaves(shape: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """Draw the sum of several octaves of noise, each twice as coarse as the one before.

    White noise (one octave) averages out over a few pixels. What remains on a larger scale is then the photo's own
    slow light, which instance normalization amplifies until a sky falls into two materials along the picture's border.

    Parameters
    ----------
    shape
        (B, C, H, W).
    count
        The first octave changes from pixel to pixel with a deviation of 1; the others are interpolated from a normal
        value every 2, 4, ... pixels.
    generator
        Source of randomness, on the CPU; a single octave draws what `torch.randn` does.
    """
    height, width = shape[-2:]
    total = torch.randn(shape, generator=generator)
    for octave in range(1, count):
        cell = 2**octave
        sides = [side // cell + 2 * _MARGIN for side in (height, width)]
        coarse = torch.randn(*shape[:-2], *sides, generator=generator)
        fine = F.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)
        total += fine[..., cell : cell + height, cell : cell + width]
    return total
