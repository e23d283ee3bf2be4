"""Masks: which pixels of an image a region has, and how two pictures are joined along it. No PyTorch here.

A mask is read as any image: upright by its own orientation, in sRGB, at the size of the photo or one of its shape. Its
light counts, transparent parts as black: from middle gray on a pixel belongs to the region.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from clipstyler.imaging import ImageError, Limits, Picture, decode_fitted, fit, fitted_size, read_header
from clipstyler.options import ConfigError
from clipstyler.region import Region

Levels = NDArray[np.uint8]
"""Light of a mask, (H, W): 0 black, 255 white."""
Selected = NDArray[np.bool_]
"""Which pixels belong to a region, (H, W)."""
Pixels = NDArray[np.uint8]

_THRESHOLD = 128
_TOLERANCE = 1  # pixels by which a mask's side may miss the photo's shape: sides are rounded
_ROUNDING = 1e-6  # of fractions of a side
_SMALLEST_PART = 8  # side in pixels of the smallest crop
_STRIP_PIXELS = 2**19


def read_mask(data: bytes, photo: tuple[int, int], size: tuple[int, int], limits: Limits | None = None) -> Levels:
    """Decode a mask and resize it.

    Parameters
    ----------
    data
        The bytes of an image file.
    photo
        Width and height of the photo, as displayed.
    size
        Width and height to resize to: the photo's shape at any size.
    limits
        What is accepted.

    Raises
    ------
    ImageError
        It cannot be read, or has another shape than the photo.
    """
    header = read_header(data, limits)
    check_shape((header.width, header.height), photo)
    return mask_levels(decode_fitted(data, max(size), enlarge=True, limits=limits), size)


def check_shape(mask: tuple[int, int], photo: tuple[int, int]) -> None:
    """Raise `ImageError` unless a mask of a width and height has the photo's shape."""
    expected = fitted_size(*photo, max(mask), enlarge=True)
    if max(abs(own - wanted) for own, wanted in zip(mask, expected, strict=True)) <= _TOLERANCE:
        return
    turned = ", and seems to be turned" if abs(mask[1] * photo[1] - mask[0] * photo[0]) <= max(photo) else ""
    raise ImageError(
        f"the mask has {mask[0]} x {mask[1]} px{turned}, another shape than the photo of {photo[0]} x {photo[1]} px: "
        "draw it over the photo as it is displayed, at any size of the same shape"
    )


def mask_levels(picture: Picture, size: tuple[int, int]) -> Levels:
    """Return the light of a decoded mask at a width and height; transparent parts are black."""
    light = np.asarray(Image.fromarray(picture.rgb).convert("L"))
    if picture.alpha is not None:
        # It was composited on white: what came from there is taken away again.
        light = (light.astype(np.int16) - (255 - picture.alpha.astype(np.int16))).clip(0).astype(np.uint8)
    return scaled(light, size)


def picture_mask(mask: Picture, photo: tuple[int, int], size: tuple[int, int]) -> Levels:
    """Return the light of a mask that is a picture; otherwise as `read_mask`."""
    check_shape((mask.width, mask.height), photo)
    return mask_levels(fit(mask, max(size), enlarge=True), size)


def mask_digest(mask: bytes | Picture) -> str:
    """Return the SHA-256 of a mask in hexadecimal: of its file, or of a picture's shape, pixels and alpha."""
    if isinstance(mask, bytes):
        return hashlib.sha256(mask).hexdigest()
    alpha = b"" if mask.alpha is None else mask.alpha.tobytes()
    return hashlib.sha256(repr(mask.rgb.shape).encode() + mask.rgb.tobytes() + alpha).hexdigest()


def scaled(levels: Levels, size: tuple[int, int]) -> Levels:
    """Resize a mask to a width and height."""
    if size == (levels.shape[1], levels.shape[0]):
        return levels
    return np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.LANCZOS))


def select(region: Region, mask: Levels | None, size: tuple[int, int]) -> Selected:
    """Return which pixels of an image of a width and height belong to a region: whatever its mask or a box covers."""
    width, height = size
    selected = np.zeros((height, width), np.bool_) if mask is None else scaled(mask, size) >= _THRESHOLD
    for box in region.boxes:
        selected[_span(box.y, box.height, height), _span(box.x, box.width, width)] = True
    return selected


def _span(start: float, length: float, side: int) -> slice:
    """Return the pixels that an interval touches, at least one."""
    first = min(math.floor(start * side + _ROUNDING), side - 1)
    return slice(first, max(first + 1, math.ceil((start + length) * side - _ROUNDING)))


def pixels_left(region: Region | None, mask: Levels | None, size: tuple[int, int]) -> int | None:
    """Return how many pixels of an image a region leaves to the style text; None without a region.

    Parameters
    ----------
    region, mask
        The region.
    size
        Width and height of the image at which it is optimized.

    Raises
    ------
    ConfigError
        The region has no pixels, or all; or it leaves too few for crops, or has too few for those of its own text.
    """
    if region is None:
        return None
    selected = select(region, mask, size)
    inside = int(selected.sum())
    outside = selected.size - inside
    field, sides = region.field, f"{size[0]} x {size[1]} px"
    colors = "" if mask is None else ": white marks the region, black the rest"
    if not inside:
        raise ConfigError(field, f"covers no pixel of the photo at {sides}{colors}")
    if not outside:
        what = "nothing is left to be stylized" if region.is_kept else "use its text as the style text"
        raise ConfigError(field, f"covers the whole photo, so {what}{colors}")
    parts = {"leaves": outside} if region.is_kept else {"leaves": outside, "covers": inside}
    verb, least = min(parts.items(), key=lambda part: part[1])
    if least < _SMALLEST_PART**2:
        raise ConfigError(
            field, f"{verb} only {least} of the photo's pixels at {sides}: change it, or use a larger size"
        )
    return outside


def feathered(selected: Selected, width: int) -> Levels:
    """Return how much of a region is seen at each pixel, 0 to 255: all of it within, less across a band around it.

    Parameters
    ----------
    selected
        The region.
    width
        Of the band in pixels; it lies outside the region.
    """
    reach = width // 2
    weights = np.empty(selected.shape, np.uint8)
    step = max(4 * reach, _STRIP_PIXELS // selected.shape[1], 1)
    for top in range(0, selected.shape[0], step):
        first = max(0, top - 2 * reach)
        grown = _grown(selected[first : top + step + 2 * reach], reach)
        soft = Image.fromarray(grown).filter(ImageFilter.BoxBlur(reach))
        weights[top : top + step] = np.asarray(soft)[top - first :][:step]
    weights[selected] = 255
    return weights


def _grown(selected: Selected, reach: int) -> Levels:
    """Return a region with all that is at most so many pixels away, across and down, as 0 and 255."""
    grown = selected
    for axis in (0, 1):
        margins = [(reach, reach) if along == axis else (0, 0) for along in (0, 1)]
        counted = np.cumsum(np.pad(grown, margins), axis=axis, dtype=np.int32)
        counted = np.insert(counted, 0, 0, axis=axis)
        length = selected.shape[axis]
        after = np.take(counted, np.arange(length) + 2 * reach + 1, axis=axis)
        grown = after > np.take(counted, np.arange(length), axis=axis)
    return grown.astype(np.uint8) * np.uint8(255)


def join(region: Region, mask: Levels | None, inside: Pixels, outside: Pixels) -> Pixels:
    """Return one picture in a region, pixel by pixel as it is, and another one beyond; (H, W, 3)."""
    selected = select(region, mask, (inside.shape[1], inside.shape[0]))
    weights = feathered(selected, round(region.feather * max(selected.shape)))
    joined = np.empty_like(outside)
    step = max(1, _STRIP_PIXELS // outside.shape[1])
    for top in range(0, outside.shape[0], step):
        strip = slice(top, top + step)
        share = weights[strip, :, None].astype(np.float32) / 255
        # Exact where the share is 0 or 1.
        joined[strip] = np.rint(outside[strip] * (1 - share) + inside[strip] * share)
    return joined
