"""Scans a container before Pillow sees it: lengths only, no decompression, in linear and bounded time.

A scan keeps what the pixels of the first frame need and drops the rest. Malformed parts are left to Pillow, within
the bounds.
"""

from __future__ import annotations

from collections.abc import Callable

from clipstyler.imaging.containers import bmp, gif, jpeg, png, tiff, webp
from clipstyler.imaging.containers.scan import Scan

_SCANNERS: dict[str, Callable[[bytes], Scan]] = {
    "PNG": png.scan,
    "JPEG": jpeg.scan,
    "TIFF": tiff.scan,
    "GIF": gif.scan,
    "WEBP": webp.scan,
    "BMP": bmp.scan,
}


def scan(data: bytes, kind: str) -> Scan:
    """Scan a file of a recognized kind.

    Raises
    ------
    ImageError
        The file has more parts than any real image, or is of a variant that cannot be read.
    """
    return _SCANNERS.get(kind, Scan)(data)
