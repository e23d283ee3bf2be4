"""Shrinks a decoded image in strips, so that no second full-size image exists."""

from __future__ import annotations

import math
from collections.abc import Iterator

from PIL import Image

from clipstyler.imaging.depth import Convert

_STRIP_PIXELS = 2**21
_LANCZOS = Image.Resampling.LANCZOS
_GAP = 4.0
"""A box filter takes the first part of a large reduction, and leaves this factor to the Lanczos filter."""
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}


def shrunk(image: Image.Image, size: tuple[int, int], convert: Convert | None) -> Image.Image:
    """Convert an image strip by strip, and resize it to a width and height that are not larger.

    Colors are weighted by their opacity, so that the colors of transparent pixels are not seen. Without the box
    filter the result is the same as that of one resize of the whole image.
    """
    if size == image.size:
        return image if convert is None else _joined(_strips(image, 1, convert), image.size)
    factors = tuple(max(1, int(side / wanted / _GAP)) for side, wanted in zip(image.size, size, strict=True))
    width = image.width / factors[0]
    strips = (_narrowed(strip, factors, width, size[0]) for strip in _strips(image, factors[1], convert))
    narrow = _joined(strips, (size[0], math.ceil(image.height / factors[1])))
    box = (0, 0, size[0], image.height / factors[1])
    result = narrow.resize(size, _LANCZOS, box=box)
    return result.convert(_STRAIGHT[result.mode]) if result.mode in _STRAIGHT else result


def _strips(image: Image.Image, multiple: int, convert: Convert | None) -> Iterator[Image.Image]:
    rows = max(1, _STRIP_PIXELS // image.width // multiple) * multiple
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield convert(strip) if convert else strip


def _narrowed(strip: Image.Image, factors: tuple[int, ...], width: float, wanted: int) -> Image.Image:
    if strip.mode in _PREMULTIPLIED:
        strip = strip.convert(_PREMULTIPLIED[strip.mode])
    if factors != (1, 1):
        strip = strip.reduce((factors[0], factors[1]))
    return strip.resize((wanted, strip.height), _LANCZOS, box=(0, 0, width, strip.height))


def _joined(strips: Iterator[Image.Image], size: tuple[int, int]) -> Image.Image:
    whole, top = None, 0
    for strip in strips:
        whole = whole or Image.new(strip.mode, size)
        whole.paste(strip, (0, top))
        top += strip.height
    assert whole is not None
    return whole
