"""Messages between the front process and a decoder: frozen values that travel through a pipe, by number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipstyler.imaging import Header, Limits, Picture
from clipstyler.masking import Levels
from clipstyler.style import StyleDescription
from clipstyler_server.spool import MaskFile, PixelFile

Source = bytes | Path
"""An image: its bytes, or the file that has them."""


@dataclass(frozen=True)
class DecoderReady:
    """The decoder takes images."""


@dataclass(frozen=True)
class Inspect:
    """Read the header of an image. Answer: `Inspected`."""

    number: int
    source: Source
    limits: Limits


@dataclass(frozen=True)
class Decode:
    """Decode an image and fit it to a size. Answer: `Decoded`."""

    number: int
    source: Source
    limits: Limits
    size: int
    enlarge: bool


@dataclass(frozen=True)
class Extract:
    """Decode an image as `Decode` does, and write its pixels to a file. Answer: `Extracted`."""

    number: int
    source: Source
    limits: Limits
    size: int
    enlarge: bool
    target: Path


@dataclass(frozen=True)
class ReadMask:
    """Decode a mask for a photo of a width and height, and resize it. Answer: `MaskRead`.

    With a target, its pixels are written to that file; answer: `MaskExtracted`.
    """

    number: int
    source: Source
    limits: Limits
    photo: tuple[int, int]
    size: tuple[int, int]
    target: Path | None = None


@dataclass(frozen=True)
class View:
    """Decode an image and resize it to the square view of an encoder, `side` pixels wide. Answer: `Viewed`."""

    number: int
    source: Source
    limits: Limits
    side: int


@dataclass(frozen=True)
class ReadStyle:
    """Read the file of a style. Answer: `StyleRead`."""

    number: int
    source: Source


@dataclass(frozen=True)
class Inspected:
    """The header of an image."""

    number: int
    header: Header


@dataclass(frozen=True)
class Decoded:
    """The fitted image, the header of the original, and the seconds that both took."""

    number: int
    picture: Picture
    header: Header
    decode_s: float


@dataclass(frozen=True)
class Extracted:
    """The pixels of an image in a file."""

    number: int
    pixels: PixelFile


@dataclass(frozen=True)
class MaskRead:
    """The light of a mask, and the SHA-256 of its file in hexadecimal."""

    number: int
    levels: Levels
    digest: str


@dataclass(frozen=True)
class MaskExtracted:
    """The light of a mask in a file."""

    number: int
    pixels: MaskFile


@dataclass(frozen=True)
class Viewed:
    """A view, float32 (1, 3, side, side) in [0, 1]."""

    number: int
    view: NDArray[np.float32]


@dataclass(frozen=True)
class StyleRead:
    """A style: the digest of its file, and what describes it."""

    number: int
    digest: str
    description: StyleDescription


@dataclass(frozen=True)
class Undecodable:
    """The image, or the style, cannot be used."""

    number: int
    problem: str


@dataclass(frozen=True)
class Unavailable:
    """The system lacks something now, such as a descriptor; the image is not to blame."""

    number: int
    problem: str


Request = Inspect | Decode | Extract | ReadMask | View | ReadStyle
Result = Inspected | Decoded | Extracted | MaskRead | MaskExtracted | Viewed | StyleRead
Answer = Result | Undecodable | Unavailable
