"""WebP: the first frame with its profile and Exif; later frames and foreign chunks are dropped."""

from __future__ import annotations

from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_MAX_CHUNKS = 10_000
_ORDER = (b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L", b"EXIF")


def scan(data: bytes) -> Scan:
    """Keep the first chunk of each kind that is needed."""
    if data[12:16] != b"VP8X":
        return Scan(data)
    chunks: dict[bytes, memoryview] = {}
    view, at, count = memoryview(data), 12, 0
    while at + 8 <= len(data):
        count += 1
        if count > _MAX_CHUNKS:
            raise ImageError(f"the WebP has more than {_MAX_CHUNKS} chunks: save it again without metadata")
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        end += end % 2
        chunks.setdefault(data[at : at + 4], view[at:end])
        at = end
    body = b"".join(chunks[name] for name in _ORDER if name in chunks)
    if at > len(data):
        return Scan(data[:12] + body)
    return Scan(b"".join([b"RIFF", (len(body) + 4).to_bytes(4, "little"), b"WEBP", body]))
