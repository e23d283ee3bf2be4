"""Reads and writes images: limits, orientation, color, alpha and aspect ratio. No PyTorch.

Input is scanned and bounded before Pillow sees it and before its pixels are decoded; output is 8-bit sRGB.
"""

from __future__ import annotations

from clipstyler.image_format import ImageFormat
from clipstyler.imaging.reading import decode, decode_fitted, read_header
from clipstyler.imaging.recognition import READABLE_FORMATS
from clipstyler.imaging.sizing import fit, fitted_size, resized, shrink
from clipstyler.imaging.values import EncodedImage, Header, ImageError, ImageFile, ImageMetadata, Limits, Picture
from clipstyler.imaging.writing import check_sides, encode, encode_into, encoded

__all__ = [
    "READABLE_FORMATS",
    "EncodedImage",
    "Header",
    "ImageError",
    "ImageFile",
    "ImageFormat",
    "ImageMetadata",
    "Limits",
    "Picture",
    "check_sides",
    "decode",
    "decode_fitted",
    "encode",
    "encode_into",
    "encoded",
    "fit",
    "fitted_size",
    "read_header",
    "resized",
    "shrink",
]
