"""What a scan of a container finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clipstyler.imaging.containers.layout import Layout


@dataclass(frozen=True)
class Scan:
    """A file reduced to its first frame, and what it declares.

    Attributes
    ----------
    data
        The file without the parts that the pixels do not need.
    chunks
        Of a PNG: contents of the chunks that describe color and transparency, by their names.
    layout
        Of a TIFF: how its pixels are stored.
    complete
        False if the file ends before its end marker.
    """

    data: bytes = field(repr=False)
    chunks: Mapping[bytes, bytes] = field(default_factory=dict)
    layout: Layout | None = None
    complete: bool = True
