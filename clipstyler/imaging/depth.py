"""Brings samples of any depth to 8 bits by their declared format, never by their values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from clipstyler.imaging.containers import png
from clipstyler.imaging.containers.layout import Layout
from clipstyler.imaging.opening import Source
from clipstyler.imaging.values import ImageError

Convert = Callable[[Image.Image], Image.Image]
_UNSIGNED, _SIGNED = 1, 2
_PLAIN = {"L", "LA", "RGB", "RGBA", "CMYK", "LAB"}
_EXPANDED = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA", "YCbCr": "RGB", "RGBX": "RGB"}


def converter(source: Source) -> Convert | None:
    """Return what makes L, LA, RGB, RGBA, CMYK or LAB of a strip of the image, or None if it is one of these."""
    image, layout = source.image, source.scan.layout
    key = png.transparent_value(source.scan.chunks)
    if image.mode == "RGB" and key:
        return lambda strip: _with_color_key(strip, key)
    bits = layout.bits if layout else png.depth(source.scan.chunks)
    gray = _gray_converter(image, layout, bits)
    if key:
        value = key[0] if gray else key[0] * 255 // (2**bits - 1)
        return lambda strip: _with_gray_key(strip, value, gray)
    if layout and layout.white_is_zero:
        return lambda strip: _inverted(gray(strip) if gray else _expanded(strip))
    if source.kind == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted.
        return ImageChops.invert
    if gray:
        return gray
    return None if image.mode in _PLAIN and "transparency" not in image.info else _expanded


def _gray_converter(image: Image.Image, layout: Layout | None, bits: int) -> Convert | None:
    """Return what scales grays of other than 8 unsigned bits."""
    swapped = layout is not None and layout.swapped
    signed = layout is not None and layout.sample_format == _SIGNED
    if image.mode.startswith("I;16"):
        return lambda strip: _scaled(np.asarray(strip), bits)
    if image.mode == "I":
        return lambda strip: _scaled(_integers(strip, bits, signed, swapped), bits, signed)
    if image.mode == "F":
        return lambda strip: _from_floats(strip, swapped)
    if image.mode == "L" and signed:
        return lambda strip: _scaled(np.asarray(strip).view(np.int8), 8, signed)
    if image.mode[0] in "IF":
        raise ImageError(f"an image of mode {image.mode} is not supported: save it with 8 or 16 bits")
    return None


def _integers(strip: Image.Image, bits: int, signed: bool, swapped: bool) -> NDArray[np.integer]:
    """Return integers as declared: Pillow returns all as signed ones, and takes `swapped` ones for the file's order."""
    values = np.asarray(strip)
    if bits == 16:
        values = values.astype(np.int16)
    if swapped:
        values = values.byteswap()
    return values if signed else values.view(np.uint32)


def _scaled(values: NDArray[np.integer], bits: int, signed: bool = False) -> Image.Image:
    """Scale integers so that the largest of the declared depth is white, and 0 (or less) black."""
    largest = 2 ** (bits - signed) - 1
    scaled = np.clip(values, 0, largest) * (255.0 / largest)
    return Image.fromarray(np.round(scaled).astype(np.uint8))


def _from_floats(strip: Image.Image, swapped: bool) -> Image.Image:
    """Take 0 to 1 as black to white; what lies outside is clipped, and what is no number is black."""
    values = np.asarray(strip)
    floats = np.nan_to_num(values.byteswap() if swapped else values, nan=0.0, posinf=1.0, neginf=0.0)
    return Image.fromarray(np.round(np.clip(floats, 0.0, 1.0) * 255).astype(np.uint8))


def _with_gray_key(strip: Image.Image, key: int, gray: Convert | None) -> Image.Image:
    """Make the pixels of one gray value transparent; the value is as Pillow returns it."""
    if gray:
        opaque, result = np.asarray(strip) != key, gray(strip)
    else:
        result = strip.convert("L")
        opaque = np.asarray(result) != key
    result.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return result


def _with_color_key(strip: Image.Image, key: tuple[int, ...]) -> Image.Image:
    """Make the pixels of one 16-bit color transparent; Pillow returns only the upper 8 bits of it."""
    opaque = np.any(np.asarray(strip) != np.asarray(key) // 256, axis=-1)
    result = strip.copy()
    result.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return result


def _expanded(strip: Image.Image) -> Image.Image:
    if strip.mode == "P" or "transparency" in strip.info:
        return strip.convert("RGBA" if strip.has_transparency_data else "RGB")
    return strip.convert(_EXPANDED[strip.mode]) if strip.mode in _EXPANDED else strip


def _inverted(strip: Image.Image) -> Image.Image:
    if strip.mode != "LA":
        return ImageChops.invert(strip)
    values, alpha = strip.split()
    return Image.merge("LA", (ImageChops.invert(values), alpha))
