"""JPEG: bounds its markers and scans, drops comments and foreign segments, and finds its end."""

from __future__ import annotations

import re

from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_MAX_MARKERS = 1_000
_MAX_SCANS = 100
_MAX_TABLE_BYTES = 16_384
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN, _END_OF_IMAGE, _QUANTIZATION = 0xDA, 0xD9, 0xDB
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_UNREADABLE_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "lossless hierarchical"}
_TABLES = {0xC4, 0xCC, _QUANTIZATION, 0xDD}
_SEGMENTS = {*_FRAMES, *_TABLES, _START_OF_SCAN, 0xDC, 0xFE, *range(0xE0, 0xF0)}
_ONCE = {(0xE0, b"JFIF\0"), (0xE1, b"Exif\0"), (0xEE, b"Adobe")}
_PROFILE = (0xE2, b"ICC_P")


def scan(data: bytes) -> Scan:
    """Keep frame, tables, profile and the first Exif segment, and the scans up to the end marker."""
    view, at, markers, tables = memoryview(data), 2, 0, 0
    kept: list[bytes | memoryview] = [view[:2]]
    seen: set[tuple[int, bytes]] = set()
    while found := _MARKER.search(data, at):
        marker, start = data[found.start() + 1], found.start()
        at = found.end()
        if marker == _START_OF_SCAN:
            end, complete = _end_of_scans(data, start)
            return Scan(b"".join([*kept, view[start:end]]), complete=complete)
        markers += 1
        if markers > _MAX_MARKERS:
            raise _too_many("markers")
        if marker not in _SEGMENTS:
            continue
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        kind = (marker, data[start + 4 : start + 9])
        tables += at - start if marker == _QUANTIZATION else 0
        if tables > _MAX_TABLE_BYTES:
            raise _too_many("quantization tables")
        if marker in _FRAMES:
            _check_frame(marker, data[start + 4 : start + 5])
        if marker in _FRAMES | _TABLES or kind == _PROFILE or (kind in _ONCE and kind not in seen):
            seen.add(kind)
            kept.append(view[start:at])
    return Scan(b"".join(kept), complete=False)


def _end_of_scans(data: bytes, at: int) -> tuple[int, bool]:
    """Return where the end marker ends, or the end of the data and False."""
    scans = markers = 0
    while found := _MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE:
            return at, True
        markers += 1
        scans += marker == _START_OF_SCAN
        if scans > _MAX_SCANS:
            raise _too_many("scans")
        if markers > _MAX_MARKERS:
            raise _too_many("markers")
        if marker in _SEGMENTS:
            at += int.from_bytes(data[at : at + 2], "big")
    return len(data), False


def _check_frame(marker: int, precision: bytes) -> None:
    kind = _UNREADABLE_FRAMES.get(marker, f"{precision[0]}-bit" if precision not in {b"", b"\x08"} else None)
    if kind:
        raise ImageError(f"a JPEG that is {kind} is not supported: save it as an 8-bit baseline JPEG, or as PNG")


def _too_many(parts: str) -> ImageError:
    return ImageError(f"the JPEG has too many {parts}: save it again without metadata")
