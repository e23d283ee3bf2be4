"""Applies a fitted StyleNet to a photo of any size, tile by tile, in bounded memory.

Instance normalization makes every pixel of StyleNet's output depend on the whole image. Here its means and deviations
come from one pass over a thumbnail, the photo as it was optimized (URST, arXiv 2103.11784): with these fixed, the
network is convolutional, so that a tile with a halo of true pixels is the same as that part of the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clipstyler.events import Rendering
from clipstyler.imaging import Picture
from clipstyler.interleaved_norm import NORM_EPSILON
from clipstyler.pixels import SMALLEST_SIDE, adjust_contrast, mean_gray, mirrored, to_pixels
from clipstyler.stylenet import STRIDE, ResidualBlock, StyleNet

TILE_SIDE = 640  # of the part of a tile that is kept
# An output pixel depends on input pixels up to 76 away: on each way down and up a block sees two pixels of its
# resolution farther, and each change of resolution up to two.
HALO = 80
_NOISE_BLOCK = 256


@dataclass(frozen=True)
class FittedStyle:
    """A fitted network and everything else that its pictures depend on, besides the photo; make one with `fit_style`.

    Attributes
    ----------
    net
        StyleNet with its normalization folded into its convolutions: no pixel depends on one that is more than `HALO`
        away.
    input_noise
        Standard deviation of the noise on its input.
    contrast
        Factor of the final contrast step.
    gray
        Mean gray of the stylized thumbnail, which the contrast step blends with, (1, 1, 1, 1).
    seed
        Of the noise.
    """

    net: StyleNet
    input_noise: float
    contrast: float
    gray: Tensor
    seed: int

    @torch.no_grad()
    def stylize(self, tile: Tensor) -> Tensor:
        """Map a part of a photo, (1, 3, H, W) with sides that are multiples of 8, to its part of the result."""
        return adjust_contrast(self.net(tile.to(self.gray.device)), self.contrast, self.gray)


@torch.no_grad()
def fit_style(
    net: StyleNet, thumbnail: Tensor, size: tuple[int, int], *, input_noise: float, contrast: float, seed: int
) -> FittedStyle:
    """Fix the normalization of a network to what it is on a thumbnail.

    Parameters
    ----------
    net
        Fitted to the photo; it is left as it is.
    thumbnail
        What it was fitted on, with its noise: (1, 3, H, W).
    size
        Height and width of the part of it that counts: the rest is padding.
    input_noise, contrast
        Of the configuration.
    seed
        Of the noise on larger photos.
    """
    moments, output = _moments(net, thumbnail)
    gray = mean_gray(output[..., : size[0], : size[1]])
    return FittedStyle(_folded(net, moments), input_noise, contrast, gray, seed)


def render(style: FittedStyle, photo: Picture, tile_side: int = TILE_SIDE) -> Generator[Rendering, None, Picture]:
    """Stylize a photo at its own size.

    The result does not depend on the size of the tiles, except within rounding: 1 of 255 at most.

    Parameters
    ----------
    style
        What is applied.
    photo
        Of any size; no tile is larger than `tile_side` + 2 `HALO` pixels on either side.
    tile_side
        Largest side of the kept part of a tile, a multiple of 8.

    Yields
    ------
    Before the first tile and after each: a consumer may stop there.

    Returns
    -------
    The stylized photo, with its alpha.
    """
    canvas = _Canvas(photo, style)
    pixels = np.empty(photo.rgb.shape, np.uint8)
    tiles = list(product(spans(canvas.height, tile_side), spans(canvas.width, tile_side)))
    yield Rendering(0, len(tiles))
    for completed, (rows, columns) in enumerate(tiles, 1):
        _draw(style, canvas, rows, columns, pixels)
        yield Rendering(completed, len(tiles))
    return Picture(pixels, photo.alpha)


def spans(length: int, most: int) -> list[slice]:
    """Split a side, a multiple of 8, into parts of about equal lengths: multiples of 8, and `most` at most."""
    count = -(-length // most)
    step = -(-length // count // STRIDE) * STRIDE
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _draw(style: FittedStyle, canvas: _Canvas, rows: slice, columns: slice, pixels: NDArray[np.uint8]) -> None:
    """Stylize one tile and put its part of the photo into its place."""
    seen_rows, seen_columns = _with_halo(rows, canvas.height), _with_halo(columns, canvas.width)
    stylized = style.stylize(canvas.cut(seen_rows, seen_columns))
    kept = stylized[..., _within(rows, seen_rows), _within(columns, seen_columns)]
    place = pixels[rows, columns]  # what lies beyond the photo is left out
    place[:] = to_pixels(kept)[: place.shape[0], : place.shape[1]]


def _with_halo(kept: slice, length: int) -> slice:
    """Extend a part by the halo, up to the border of the image: there, the network's own padding is right."""
    return slice(max(0, kept.start - HALO), min(length, kept.stop + HALO))


def _within(kept: slice, seen: slice) -> slice:
    return slice(kept.start - seen.start, kept.stop - seen.start)


class _Canvas:
    """A photo as the network sees it: mirrored to sides that are multiples of 8, with noise; cut into parts."""

    def __init__(self, photo: Picture, style: FittedStyle) -> None:
        self._pixels = photo.rgb
        self._style = style
        self._rows, self._columns = (mirrored(side, SMALLEST_SIDE) for side in (photo.height, photo.width))
        self.height, self.width = len(self._rows), len(self._columns)

    def cut(self, rows: slice, columns: slice) -> Tensor:
        """Return a part, (1, 3, H, W), in [0, 1] but for the noise."""
        pixels = self._pixels[np.ix_(self._rows[rows], self._columns[columns])]
        image = pixels.transpose(2, 0, 1).astype(np.float32) / 255
        if self._style.input_noise:
            image += self._style.input_noise * positional_noise(self._style.seed, rows, columns)
        return torch.from_numpy(image)[None]


def positional_noise(seed: int, rows: slice, columns: slice) -> NDArray[np.float32]:
    """Draw normal noise for a part of an image, (3, H, W): each pixel depends on the seed and its position only.

    It is drawn in blocks of a fixed lattice, each of which has a counter-based generator of its own.
    """
    noise = np.empty((3, rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for row, column in product(_blocks(rows), _blocks(columns)):
        key = np.array([seed, row << 32 | column], np.uint64)
        shape = (3, _NOISE_BLOCK, _NOISE_BLOCK)
        block = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
        into_rows, from_rows = _overlap(rows, row)
        into_columns, from_columns = _overlap(columns, column)
        noise[:, into_rows, into_columns] = block[:, from_rows, from_columns]
    return noise


def _blocks(part: slice) -> range:
    return range(part.start // _NOISE_BLOCK, -(-part.stop // _NOISE_BLOCK))


def _overlap(part: slice, block: int) -> tuple[slice, slice]:
    """Return where a part and a block overlap, counted from the beginning of either."""
    origin = block * _NOISE_BLOCK
    common = slice(max(part.start, origin), min(part.stop, origin + _NOISE_BLOCK))
    return _within(common, part), slice(common.start - origin, common.stop - origin)


_Moments = dict[str, tuple[Tensor, Tensor]]


def _moments(net: StyleNet, thumbnail: Tensor) -> tuple[_Moments, Tensor]:
    """Return variance and mean of what each normalization sees, by the name of the convolution before it; the output."""
    seen: _Moments = {}

    def record(name: str, output: Tensor) -> None:
        # One channel after the other, in float64: sums over whole images are inaccurate in float32.
        planes = [torch.var_mean(plane.double(), correction=0) for plane in output[0]]
        variances, means = zip(*planes, strict=True)
        seen[name] = (torch.stack(variances), torch.stack(means))

    hooks = [
        conv.register_forward_hook(lambda _module, _inputs, output, name=name: record(name, output))
        for name, conv in _normalized(net).items()
    ]
    try:
        output: Tensor = net(thumbnail)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, output


def _folded(net: StyleNet, moments: _Moments) -> StyleNet:
    """Return a copy of a network in which (x - mean) / deviation is part of the convolution that x comes from."""
    folded = copy.deepcopy(net).requires_grad_(False)
    for name, conv in _normalized(folded).items():
        variance, mean = moments[name]
        scale = (variance + NORM_EPSILON).rsqrt()
        assert conv.bias is not None
        conv.weight.copy_(conv.weight * scale[:, None, None, None])
        conv.bias.copy_((conv.bias - mean) * scale)
    for block in folded.modules():
        if isinstance(block, ResidualBlock):
            block.body[1], block.body[3] = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
    return folded


def _normalized(net: StyleNet) -> dict[str, nn.Conv2d]:
    """Return the convolutions that a normalization follows, by name."""
    return {
        f"{name}.body.{index}": block.body[index]
        for name, block in net.named_modules()
        if isinstance(block, ResidualBlock)
        for index in (0, 2)
    }
