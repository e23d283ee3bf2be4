"""What goes in and comes out: limits, headers, pictures, encoded files, and the one error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipstyler.image_format import ImageFormat


class ImageError(ValueError):
    """An image cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What is accepted before decoding.

    Attributes
    ----------
    max_bytes
        Of the file.
    max_pixels
        Width times height.
    heic
        Whether HEIC is read: no release of its decoder is free of known vulnerabilities (see SECURITY.md), so it is
        for photos that one trusts.
    """

    max_bytes: int = 16 * 2**20
    max_pixels: int = 64_000_000
    heic: bool = True


@dataclass(frozen=True)
class Header:
    """The header of an image.

    Attributes
    ----------
    format
        One of `READABLE_FORMATS`.
    width, height
        Size in pixels, as displayed.
    warnings
        Short sentences about faults that do not keep the file from being read.
    """

    format: str
    width: int
    height: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image in sRGB.

    Attributes
    ----------
    rgb
        uint8, (height, width, 3); if the image has alpha, composited on white.
    alpha
        uint8, (height, width), or None if everything is opaque.
    warnings
        Short sentences about faults of the file that the picture was read from.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.rgb.shape[0])


@dataclass(frozen=True)
class ImageMetadata:
    """Describes an encoded image: encoding, size in pixels and bytes, SHA-256 in lower-case hexadecimal."""

    format: ImageFormat | None
    width: int
    height: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ImageFile:
    """An image in a file, and what describes it."""

    path: Path
    metadata: ImageMetadata


@dataclass(frozen=True)
class EncodedImage:
    """An image file in memory.

    Attributes
    ----------
    data
        The bytes of the file.
    format, width, height
        Encoding, and size in pixels.
    sha256
        Digest of the bytes, 32 bytes.
    """

    data: bytes = field(repr=False)
    format: ImageFormat
    width: int
    height: int
    sha256: bytes = field(repr=False)

    @property
    def metadata(self) -> ImageMetadata:
        """What describes the file, without its bytes."""
        return ImageMetadata(self.format, self.width, self.height, len(self.data), self.sha256.hex())
