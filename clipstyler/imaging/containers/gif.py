"""GIF: the first frame; comments, extensions and later frames are dropped."""

from __future__ import annotations

from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_BYTES_PER_BLOCK = 128
"""Encoders fill blocks of 255 bytes: a file of many smaller ones on average is no real image."""
_EXTENSION, _FRAME, _GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9


def scan(data: bytes) -> Scan:
    """Cut behind the first frame."""
    at = 13 + _table_bytes(data, 10)
    head, control, blocks = data[:at], b"", 0
    while at < len(data):
        kind, start = data[at], at
        if kind == _EXTENSION:
            at, blocks = _after_blocks(data, at + 2, blocks)
            if data[start + 1 : start + 2] == bytes([_GRAPHIC_CONTROL]):
                control = data[start:at]
        elif kind == _FRAME:
            at, _ = _after_blocks(data, at + 11 + _table_bytes(data, at + 9), blocks)
            return Scan(b"".join([head, control, memoryview(data)[start:at], b";" if at < len(data) else b""]))
        else:
            break
    return Scan(head + data[at:])


def _table_bytes(data: bytes, at: int) -> int:
    """Return the size of the color table that the flags at a position announce."""
    flags = data[at] if at < len(data) else 0
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int, blocks: int) -> tuple[int, int]:
    while at < len(data) and data[at]:
        at += data[at] + 1
        blocks += 1
        if blocks > 1_000 + len(data) // _BYTES_PER_BLOCK:
            raise ImageError(f"the GIF has more than {blocks - 1} blocks: save it again, or as PNG")
    return at + 1, blocks
