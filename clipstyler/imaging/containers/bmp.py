"""BMP: bounds run-length encoded files, which Pillow decodes slowly."""

from __future__ import annotations

from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_MAX_RUN_LENGTH_BYTES = 2 * 2**20
_RUN_LENGTH = {1, 2}


def scan(data: bytes) -> Scan:
    """Refuse a large run-length encoded file."""
    if data[30:34] and data[30] in _RUN_LENGTH and len(data) > _MAX_RUN_LENGTH_BYTES:
        raise ImageError(f"a run-length encoded BMP may have at most {_MAX_RUN_LENGTH_BYTES} bytes: save it as PNG")
    return Scan(data)
