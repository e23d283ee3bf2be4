"""Reads headers and pictures: the first frame, upright, in sRGB, no larger in memory than is needed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipstyler.imaging.color import srgb_converter
from clipstyler.imaging.depth import converter
from clipstyler.imaging.opening import Source, open_source
from clipstyler.imaging.shrinking import shrunk
from clipstyler.imaging.sizing import fit, fitted_size
from clipstyler.imaging.truncation import refuse_missing_rows
from clipstyler.imaging.values import Header, ImageError, Limits, Picture

_SIDEWAYS = {5, 6, 7, 8}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DRAFT = 4
"""A JPEG is decoded at least this much larger than it is needed; the Lanczos filter does the rest."""
_ROWS = 256


def read_header(data: bytes, limits: Limits | None = None) -> Header:
    """Read format and size and check them against the limits, without decoding pixels.

    Raises
    ------
    ImageError
        There are too many bytes, parts or pixels, or the format cannot be read.
    """
    with open_source(data, limits or Limits()) as source:
        width, height = source.image.size
        if source.orientation in _SIDEWAYS:
            width, height = height, width
        return Header(source.kind, width, height, source.warnings)


def decode(data: bytes, limits: Limits | None = None) -> Picture:
    """Decode an image: the first frame, upright, in sRGB, composited on white, alpha kept separately.

    Grayscale, palette, CMYK, 16-bit and float images are converted to 8-bit RGB by their declared format.

    Raises
    ------
    ImageError
        As `read_header`, or the pixels are broken or missing.
    """
    return _decode(data, None, limits or Limits())


def decode_fitted(data: bytes, size: int, enlarge: bool = False, limits: Limits | None = None) -> Picture:
    """Decode an image as `decode` and `fit` do, but shrink it on the way, which takes less memory and time.

    Parameters
    ----------
    data
        The bytes of the file.
    size
        Longest side of the picture, pixels.
    enlarge
        Whether smaller images are enlarged to this size.
    limits
        What is accepted.

    Raises
    ------
    ImageError
        As `decode`.
    """
    return fit(_decode(data, size, limits or Limits()), size, enlarge)


def _decode(data: bytes, size: int | None, limits: Limits) -> Picture:
    with open_source(data, limits) as source:
        try:
            return _picture(_upright(source, size), source)
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError("the image does not fit into memory: send a smaller one") from error
        except Exception as error:
            raise ImageError(f"the image is truncated or broken: {error}; send a complete file") from error


def _upright(source: Source, size: int | None) -> Image.Image:
    """Decode the pixels, shrink them to a longest side, and turn them."""
    image = source.image
    wanted = fitted_size(*image.size, size) if size else image.size
    if not source.scan.complete:
        refuse_missing_rows(source.scan.data)
    if source.kind == "JPEG" and wanted != image.size:
        image.draft(None, (_DRAFT * wanted[0], _DRAFT * wanted[1]))
    image.load()
    small = shrunk(image, wanted, converter(source))
    if source.orientation not in _TURNS:
        return small
    turned = small.transpose(_TURNS[source.orientation])
    image.close()
    return turned


def _picture(image: Image.Image, source: Source) -> Picture:
    """Convert the colors some rows at a time, and composite them on white."""
    convert = srgb_converter(image.mode, source)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    alpha = np.empty((image.height, image.width), np.uint8) if image.mode in {"LA", "RGBA"} else None
    for top in range(0, image.height, _ROWS):
        rows = slice(top, top + _ROWS)
        pixels = np.asarray(convert(image.crop((0, top, image.width, min(top + _ROWS, image.height)))))
        if alpha is None:
            rgb[rows] = pixels
        else:
            alpha[rows] = pixels[..., 3]
            opacity = pixels[..., 3:].astype(np.float32) / 255
            rgb[rows] = np.round(pixels[..., :3] * opacity + 255 * (1 - opacity))
    opaque = alpha is None or alpha.min() == 255
    return Picture(rgb, None if opaque else alpha, source.warnings)
