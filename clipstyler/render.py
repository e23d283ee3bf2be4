"""Applies a fitted StyleNet to a photo of any size, tile by tile, in bounded memory.

Instance normalization makes every pixel of StyleNet's output depend on the whole image. Here its means and deviations
come from one pass over a thumbnail, the photo as it was optimized (URST, arXiv 2103.11784): with these fixed, the
network is convolutional, so that a tile with a halo of true pixels is the same as that part of the whole.

Texture has a size in pixels, so that a much larger photo would show the style from near only. Its result takes what
is coarse from a smaller rendering, and what is fine from its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from clipstyler.events import Rendering
from clipstyler.imaging import Picture
from clipstyler.interleaved_norm import NORM_EPSILON
from clipstyler.pixels import SMALLEST_SIDE, adjust_contrast, mean_gray, mirrored, to_pixels
from clipstyler.stylenet import STRIDE, ResidualBlock, StyleNet

Floats = NDArray[np.float32]

TILE_SIDE = 640  # of the part of a tile that is kept
TEXTURE_RATIO = 4  # between the sides of a photo and its thumbnail; texture gets too fine beyond
# An output pixel depends on input pixels up to 76 away: on each way down and up a block sees two pixels of its
# resolution farther, and each change of resolution up to two.
HALO = 80
_NOISE_BLOCK = 256
_STRIP_PIXELS = 2**19
_SHARPENINGS = 3


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
    side
        Longest side of the thumbnail.
    seed
        Of the noise.
    """

    net: StyleNet
    input_noise: float
    contrast: float
    gray: Tensor
    side: int
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
    return FittedStyle(_folded(net, moments), input_noise, contrast, gray, max(size), seed)


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
    factor = max(1, math.ceil(max(photo.width, photo.height) / (TEXTURE_RATIO * style.side)))
    seen = [photo.rgb] if factor == 1 else [reduced(photo.rgb, factor), photo.rgb]
    drawings = [_Drawing(style, pixels, tile_side) for pixels in seen]
    completed, total = 0, sum(len(drawing.tiles) for drawing in drawings)
    yield Rendering(completed, total)
    for drawing in drawings:
        for rows, columns in drawing.tiles:
            drawing.draw(rows, columns)
            completed += 1
            yield Rendering(completed, total)
    result = drawings[-1].result
    if factor > 1:
        match_coarse(result, drawings[0].result, factor)
    return Picture(result, photo.alpha)


def reduced(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Shrink (H, W, 3) by the mean of squares of pixels, which are smaller at the lower and right border."""
    strips = (pixels[rows] for rows in _strips(pixels.shape, factor))
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips])


def match_coarse(pixels: NDArray[np.uint8], coarse: NDArray[np.uint8], factor: int) -> None:
    """Change an image, in place, so that it looks like a smaller one from afar: the difference is added to it.

    Parameters
    ----------
    pixels
        (H, W, 3).
    coarse
        What `pixels` is to be when it is `reduced` by the factor; bounded colors let it come close only.
    """
    missing = _sharpened(coarse.astype(np.float32) - reduced(pixels, factor))
    columns, next_columns, right = _between(np.arange(pixels.shape[1]), factor, missing.shape[1])
    for strip in _strips(pixels.shape, 1):
        rows, next_rows, down = _between(np.arange(strip.start, strip.stop), factor, missing.shape[0])
        across = missing[rows] * (1 - down)[:, None, None] + missing[next_rows] * down[:, None, None]
        added = across[:, columns] * (1 - right)[:, None] + across[:, next_columns] * right[:, None]
        pixels[strip] = np.clip(np.rint(pixels[strip] + added), 0, 255)


def _sharpened(image: Floats) -> Floats:
    """Make up, mostly, for what interpolation between squares takes away: their means come out as those in (H, W, 3).

    Interpolated values that are averaged over squares again are as if blurred by 1/8, 3/4, 1/8.
    """
    wanted = sharp = image
    for _ in range(_SHARPENINGS):
        sharp = sharp + wanted - _blurred(_blurred(sharp, 0), 1)
    return sharp


def _blurred(image: Floats, axis: int) -> Floats:
    wide = np.pad(image, [(1, 1) if each == axis else (0, 0) for each in range(3)], mode="edge")
    count = image.shape[axis]
    before, after = (wide.take(range(start, start + count), axis) for start in (0, 2))
    return image * 0.75 + (before + after) * 0.125


def _between(places: NDArray[np.intp], factor: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return which two squares the centers of pixels lie between, and how far from the first one, 0 to 1."""
    exact = np.clip((places + 0.5) / factor - 0.5, 0, count - 1)
    first = exact.astype(np.intp)
    return first, np.minimum(first + 1, count - 1), (exact - first).astype(np.float32)


def _strips(shape: tuple[int, ...], multiple: int) -> list[slice]:
    """Split the rows of an image into strips of a bounded number of pixels, whose heights are multiples of a number."""
    step = max(1, _STRIP_PIXELS // shape[1] // multiple) * multiple
    return [slice(top, min(top + step, shape[0])) for top in range(0, shape[0], step)]


def spans(length: int, most: int) -> list[slice]:
    """Split a side, a multiple of 8, into parts of about equal lengths: multiples of 8, and `most` at most."""
    count = -(-length // most)
    step = -(-length // count // STRIDE) * STRIDE
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _with_halo(kept: slice, length: int) -> slice:
    """Extend a part by the halo, up to the border of the image: there, the network's own padding is right."""
    return slice(max(0, kept.start - HALO), min(length, kept.stop + HALO))


def _within(kept: slice, seen: slice) -> slice:
    return slice(kept.start - seen.start, kept.stop - seen.start)


class _Drawing:
    """One pass of the network over a photo, mirrored to sides that are multiples of 8, with noise.

    Attributes
    ----------
    result
        The stylized photo, as far as it is drawn.
    tiles
        Rows and columns of all tiles, without their halos.
    """

    def __init__(self, style: FittedStyle, pixels: NDArray[np.uint8], tile_side: int) -> None:
        self._style = style
        self._pixels = pixels
        self._rows, self._columns = (mirrored(side, SMALLEST_SIDE) for side in pixels.shape[:2])
        self.result = np.empty(pixels.shape, np.uint8)
        self.tiles = list(product(spans(len(self._rows), tile_side), spans(len(self._columns), tile_side)))

    def draw(self, rows: slice, columns: slice) -> None:
        """Stylize one tile and put its part of the photo into its place."""
        seen_rows, seen_columns = _with_halo(rows, len(self._rows)), _with_halo(columns, len(self._columns))
        stylized = self._style.stylize(self._cut(seen_rows, seen_columns))
        kept = stylized[..., _within(rows, seen_rows), _within(columns, seen_columns)]
        place = self.result[rows, columns]  # what lies beyond the photo is left out
        place[:] = to_pixels(kept)[: place.shape[0], : place.shape[1]]

    def _cut(self, rows: slice, columns: slice) -> Tensor:
        """Return a part of the photo, (1, 3, H, W), in [0, 1] but for the noise."""
        pixels = self._pixels[np.ix_(self._rows[rows], self._columns[columns])]
        image = pixels.transpose(2, 0, 1).astype(np.float32) / 255
        if self._style.input_noise:
            image += self._style.input_noise * positional_noise(self._style.seed, rows, columns)
        return torch.from_numpy(image)[None]


def positional_noise(seed: int, rows: slice, columns: slice) -> Floats:
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
    """Return variance and mean of what each normalization sees, by the convolution before it; then the output."""
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
    blocks = {name: block for name, block in net.named_modules() if isinstance(block, ResidualBlock)}
    followed = {f"{name}.body.{index}": block.body[index] for name, block in blocks.items() for index in (0, 2)}
    return {name: conv for name, conv in followed.items() if isinstance(conv, nn.Conv2d)}
