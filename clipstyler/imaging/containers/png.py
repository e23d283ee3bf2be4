"""PNG: bounds its chunks, and drops what the pixels do not need (text, animation, repeated profiles)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 1_000
_MAX_DATA_CHUNKS = 100_000
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf")
_DESCRIBING = {b"IHDR", b"tRNS", b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM"}
_END = b"\0\0\0\0IEND\xaeB\x60\x82"
_GRAY, _COLOR = 0, 2


def scan(data: bytes) -> Scan:
    """Keep the first of each chunk that is needed, in front of the pixels."""
    view, at, others, data_chunks = memoryview(data), len(_SIGNATURE), 0, 0
    whole: dict[bytes, memoryview] = {}
    contents: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    complete = False
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        chunk = view[at : at + length + 12]
        at += length + 12
        if name == b"IEND":
            complete = True
            break
        data_chunks += name == b"IDAT"
        others += name != b"IDAT"
        _check_numbers(others, data_chunks)
        if name == b"IDAT":
            if length or not pixels:
                pixels.append(chunk)
            continue
        whole.setdefault(name, chunk)
        if name in _DESCRIBING:
            contents.setdefault(name, bytes(chunk[8 : length + 8]))
    kept = [whole[name] for name in _NEEDED if name in whole and not (name == b"tRNS" and _reads_own_key(contents))]
    ending = [_END] if complete else []
    return Scan(b"".join([_SIGNATURE, *kept, *pixels, *ending]), chunks=contents)


def transparent_value(chunks: Mapping[bytes, bytes]) -> tuple[int, ...] | None:
    """Return the gray value or the color that is transparent, as declared, where Pillow would not find it."""
    if b"tRNS" not in chunks or not _reads_own_key(chunks):
        return None
    channels = 1 if _color_type(chunks) == _GRAY else 3
    key = chunks[b"tRNS"]
    return struct.unpack(f">{channels}H", key[: 2 * channels]) if len(key) >= 2 * channels else None


def depth(chunks: Mapping[bytes, bytes]) -> int:
    """Return the bits of a sample, or 0 if the header is missing."""
    header = chunks.get(b"IHDR", b"")
    return header[8] if len(header) >= 13 else 0


def _reads_own_key(chunks: Mapping[bytes, bytes]) -> bool:
    """Whether Pillow misreads the transparent value: grays of other depths than 8 bits, and 16-bit colors."""
    return _color_type(chunks) == _GRAY or (_color_type(chunks) == _COLOR and depth(chunks) == 16)


def _color_type(chunks: Mapping[bytes, bytes]) -> int:
    header = chunks.get(b"IHDR", b"")
    return header[9] if len(header) >= 13 else -1


def _check_numbers(others: int, pixels: int) -> None:
    if others > _MAX_CHUNKS or pixels > _MAX_DATA_CHUNKS:
        raise ImageError(
            f"the PNG has more than {_MAX_CHUNKS if others > _MAX_CHUNKS else _MAX_DATA_CHUNKS} chunks: "
            "save it again without metadata"
        )
