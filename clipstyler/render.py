"""Applies a fitted StyleNet to a photo of any size, tile by tile, in bounded memory.

Instance normalization makes every pixel of StyleNet's output depend on the whole image. Here its means and deviations
come from one pass over a thumbnail, the photo as it was optimized (URST, arXiv 2103.11784): with these fixed, the
network is convolutional, so that a tile with a halo of true pixels is the same as that part of the whole.

Texture has a size in pixels: drawn at once, a larger photo would show finer marks, and the style from near only. So a
result is drawn in levels, each up to twice as large as the one before, from the optimized image on. Each level takes
from its own drawing only what is finer than the level before: the marks stay where and as large as they were, and
every octave of detail comes from the size at which the network draws it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipstyler.allocator import return_unused_memory
from clipstyler.events import Rendering
from clipstyler.fixed_net import FixedNet
from clipstyler.imaging import Picture, resized
from clipstyler.input_noise import NoiseField, PositionalNoise
from clipstyler.interruption import Check, StopPoints, never
from clipstyler.pixels import SMALLEST_SIDE, adjust_contrast, mean_gray, mirrored, to_pixels
from clipstyler.stylenet import StyleNet
from clipstyler.tiling import Tile, tiles_of

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Values = Floats | Pixels  # from 0 to 255 either way

TILE_SIDE = 512  # of a tile without its halos; larger ones take less time and more memory
LEVEL_RATIO = 2  # between the sides of a level and the one before, at most
_STRIP_PIXELS = 2**19


@dataclass(frozen=True)
class FittedStyle:
    """A fitted network and everything else that its pictures depend on, besides the photo; make one with `fix_style`.

    Attributes
    ----------
    net
        The network with its normalization fixed: no pixel depends on one that is more than `HALO` away.
    input_noise
        Standard deviation of the noise on its input.
    noise
        That noise.
    contrast
        Factor of the final contrast step.
    gray
        Mean gray of the stylized thumbnail, which the contrast step blends with, (1, 1, 1, 1).
    optimized
        The stylized thumbnail: uint8, (H, W, 3).
    """

    net: FixedNet
    input_noise: float
    noise: NoiseField
    contrast: float
    gray: Tensor
    optimized: Pixels

    @torch.no_grad()
    def stylize(self, tile: Tensor) -> Tensor:
        """Map a part of a photo, (1, 3, H, W) with sides that are multiples of 8, to its part of the result."""
        return adjust_contrast(self.net(tile.to(self.gray.device)), self.contrast, self.gray)


@torch.no_grad()
def fix_style(
    net: StyleNet,
    thumbnail: Tensor,
    size: tuple[int, int],
    *,
    input_noise: float,
    noise_octaves: int,
    contrast: float,
    seed: int,
    check: Check = never,
) -> FittedStyle:
    """Fix the normalization of a network to what it is on a thumbnail.

    Parameters
    ----------
    net
        Fitted to the photo; it is left as it is.
    thumbnail
        What it was fitted on, with its noise: (1, 3, H, W).
    size
        Height and width of the photo on it: the rest is padding.
    input_noise, noise_octaves, contrast
        Of the configuration.
    seed
        Of the noise on larger photos.
    check
        Called between the layers of the network: it may stop the work.
    """
    fixed = FixedNet(net)
    with StopPoints(check, fixed):
        output = fixed(thumbnail)
    height, width = size
    canvas = output[..., : max(height, SMALLEST_SIDE), : max(width, SMALLEST_SIDE)]
    gray = mean_gray(canvas)
    optimized = to_pixels(adjust_contrast(canvas, contrast, gray))[:height, :width]
    noise = PositionalNoise(seed, noise_octaves)
    return FittedStyle(fixed, input_noise, noise, contrast, gray, optimized)


def render(style: FittedStyle, photo: Picture, tile_side: int = TILE_SIDE) -> Generator[Rendering, None, Picture]:
    """Stylize a photo at its own size.

    The result does not depend on the size of the tiles, except within rounding: 1 of 255 at most.

    Parameters
    ----------
    style
        What is applied.
    photo
        Of any size.
    tile_side
        Largest side of a tile without its two halos, a multiple of 8.

    Yields
    ------
    Before the first tile and after each: a consumer may stop there.

    Returns
    -------
    The stylized photo, with its alpha.
    """
    levels = _levels(photo.rgb, style.optimized.shape)
    plans = [tiles_of(level.shape, tile_side) for level in levels]
    completed, total = 0, sum(map(len, plans))
    yield Rendering(completed, total)
    finest = np.empty(photo.rgb.shape, np.uint8)
    before: Values = style.optimized
    for level, tiles in zip(levels, plans, strict=True):
        values = finest if level is photo.rgb else np.empty(level.shape, np.float32)
        drawing = Drawing(style, level, values)
        for tile in tiles:
            drawing.draw(tile)
            completed += 1
            yield Rendering(completed, total)
        if len(levels) > 1:  # the memory of tiles, which fits neither what follows nor the tiles of another level
            return_unused_memory()
        match_coarse(values, before)
        before = values
    return Picture(finest, photo.alpha)


def _levels(pixels: Pixels, optimized: tuple[int, ...]) -> list[Pixels]:
    """Return a photo at the sizes of all levels, the smallest first and the photo itself last."""
    ratio = max(pixels.shape[:2]) / max(optimized[:2])
    count = max(1, math.ceil(math.log(ratio, LEVEL_RATIO) - 1e-9))
    levels = [pixels]
    for below in range(1, count):
        height, width = (max(1, round(side * ratio ** (-below / count))) for side in pixels.shape[:2])
        levels.append(resized(Picture(levels[-1]), (width, height)).rgb)
    return levels[::-1]


def match_coarse(values: Values, coarse: Values) -> None:
    """Change an image, in place, so that it looks from afar as a smaller one does: the difference is added to it.

    Parameters
    ----------
    values
        (H, W, 3).
    coarse
        What it should be if it is shrunk to this size by averaging: (h, w, 3).
    """
    missing = np.subtract(coarse, _averaged(values, coarse.shape), dtype=np.float32)
    columns, next_columns, right = _between(values.shape[1], coarse.shape[1])
    rows, next_rows, down = _between(values.shape[0], coarse.shape[0])
    step = max(1, _STRIP_PIXELS // values.shape[1])
    for top in range(0, values.shape[0], step):
        strip = slice(top, top + step)
        share = down[strip, None, None]
        across = missing[rows[strip]] * (1 - share) + missing[next_rows[strip]] * share
        added = across[:, columns] * (1 - right[:, None]) + across[:, next_columns] * right[:, None]
        matched = np.clip(values[strip] + added, 0, 255)
        values[strip] = np.rint(matched) if values.dtype == np.uint8 else matched


def _averaged(values: Values, shape: tuple[int, ...]) -> Values:
    """Shrink (H, W, 3) to the size of a shape by averaging."""
    size = (shape[1], shape[0])
    if values.dtype == np.uint8:
        return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    planes = [Image.fromarray(np.ascontiguousarray(values[..., color])) for color in range(3)]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes], axis=-1)


def _between(count: int, coarse_count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return which two coarse pixels the center of each pixel of a row lies between, and how far from the first."""
    exact = np.clip((np.arange(count) + 0.5) * coarse_count / count - 0.5, 0, coarse_count - 1)
    first = exact.astype(np.intp)
    return first, np.minimum(first + 1, coarse_count - 1), (exact - first).astype(np.float32)


class Drawing:
    """The network applied to a photo, mirrored to sides that are multiples of 8, with noise.

    Parameters
    ----------
    style
        What is applied.
    pixels
        The photo, (H, W, 3).
    values
        Where it is drawn, of the same shape.
    """

    def __init__(self, style: FittedStyle, pixels: Pixels, values: Values) -> None:
        self._style = style
        self._pixels = pixels
        self._values = values
        self._rows, self._columns = (mirrored(side, SMALLEST_SIDE) for side in pixels.shape[:2])

    def draw(self, tile: Tile) -> None:
        """Stylize one tile and put its part of the photo into its place."""
        rows, columns = tile
        stylized = self._style.stylize(self._cut(rows.seen, columns.seen))
        kept = stylized[0, :, rows.inside, columns.inside].permute(1, 2, 0) * 255
        place = self._values[rows.kept, columns.kept]  # what lies beyond the photo is left out
        drawn = kept.round() if place.dtype == np.uint8 else kept
        place[:] = drawn.cpu().numpy()[: place.shape[0], : place.shape[1]]

    def _cut(self, rows: slice, columns: slice) -> Tensor:
        """Return a part of the photo, (1, 3, H, W), in [0, 1] but for the noise."""
        pixels = self._pixels[np.ix_(self._rows[rows], self._columns[columns])]
        image = pixels.transpose(2, 0, 1).astype(np.float32) / 255
        if self._style.input_noise:
            image += self._style.input_noise * self._style.noise.part(self._pixels.shape[:2], rows, columns)
        return torch.from_numpy(image)[None]
