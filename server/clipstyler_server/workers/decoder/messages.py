"""Messages between the front process and the decoder: frozen values that travel through a pipe, by number."""

from __future__ import annotations

from dataclasses import dataclass

from clipstyler.imaging import Header, Limits, Picture


@dataclass(frozen=True)
class Inspect:
    """Read the header of an image."""

    number: int
    data: bytes
    limits: Limits


@dataclass(frozen=True)
class Decode:
    """Decode an image and fit it to a size."""

    number: int
    data: bytes
    limits: Limits
    size: int
    enlarge: bool


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
class Undecodable:
    """The image cannot be used."""

    number: int
    problem: str
