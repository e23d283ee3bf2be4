"""Noise on StyleNet's input: something to make texture from where a photo has nothing. Not in the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Floats = NDArray[np.float32]

_MARGIN = 2  # cells around a coarse grid, so that its interpolation needs no border
_BLOCK = 256  # px: a multiple of the coarsest cell
# 0.75 MiB each. The next photo in the same style needs them all again, the next tile those of its halo.
_BLOCKS_KEPT, _COARSE_BLOCKS_KEPT = 32, 8


class NoiseField(Protocol):
    """Noise over a picture, which is drawn part by part."""

    def part(self, size: tuple[int, ...], rows: slice, columns: slice) -> Floats:
        """Return the noise of a part, (3, H, W), of a picture of a height and width; it may reach beyond them."""


@dataclass(frozen=True)
class PositionalNoise:
    """Noise that depends on the seed and the position only: `positional_octaves`."""

    seed: int
    octaves: int

    def part(self, _size: tuple[int, ...], rows: slice, columns: slice) -> Floats:
        """Return the noise of a part, (3, H, W)."""
        return positional_octaves(self.seed, self.octaves, rows, columns)


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
        total += _interpolated(coarse, cell)[..., cell : cell + height, cell : cell + width]
    return total


def positional_octaves(seed: int, count: int, rows: slice, columns: slice) -> Floats:
    """Draw such a sum for a part of an image, (3, H, W): each pixel depends on the seed and its position only."""
    return _assembled(partial(_sum_block, seed, count), rows, columns)


def _assembled(block_at: Callable[[int, int], Floats], rows: slice, columns: slice) -> Floats:
    """Put a part, (3, H, W), together from the blocks of a lattice, each (3, `_BLOCK`, `_BLOCK`)."""
    part = np.empty((3, rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for row, column in product(_blocks(rows), _blocks(columns)):
        into_rows, from_rows = _overlap(rows, row)
        into_columns, from_columns = _overlap(columns, column)
        part[:, into_rows, into_columns] = block_at(row, column)[:, from_rows, from_columns]
    return part


@lru_cache(maxsize=_BLOCKS_KEPT)
def _sum_block(seed: int, count: int, row: int, column: int) -> Floats:
    """Draw a block of the sum of octaves."""
    total = _normal_block(seed, 0, row, column)
    for octave in range(1, count):
        cell = 2**octave
        cells = (slice(_BLOCK * n // cell, _BLOCK * (n + 1) // cell + 2 * _MARGIN) for n in (row, column))
        coarse = _assembled(partial(_coarse_block, seed, octave), *cells)
        fine = _interpolated(torch.from_numpy(coarse)[None], cell)[0].numpy()
        total += fine[:, _MARGIN * cell :, _MARGIN * cell :][:, :_BLOCK, :_BLOCK]
    total.setflags(write=False)
    return total


@lru_cache(maxsize=_COARSE_BLOCKS_KEPT)
def _coarse_block(seed: int, octave: int, row: int, column: int) -> Floats:
    """Draw a block of the grid of a coarse octave, which several blocks of the sum need."""
    block = _normal_block(seed, octave, row, column)
    block.setflags(write=False)
    return block


def _normal_block(seed: int, octave: int, row: int, column: int) -> Floats:
    """Draw a block of normal noise. Each has a counter-based generator of its own."""
    key = np.array([seed, octave << 60 | row << 32 | column], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal((3, _BLOCK, _BLOCK), np.float32)


def _interpolated(coarse: Tensor, cell: int) -> Tensor:
    return F.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)


def _blocks(part: slice) -> range:
    return range(part.start // _BLOCK, -(-part.stop // _BLOCK))


def _overlap(part: slice, block: int) -> tuple[slice, slice]:
    """Return where a part and a block overlap, counted from the beginning of either."""
    origin = block * _BLOCK
    start, stop = max(part.start, origin), min(part.stop, origin + _BLOCK)
    return slice(start - part.start, stop - part.start), slice(start - origin, stop - origin)
