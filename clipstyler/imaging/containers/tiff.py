"""TIFF: only the first directory, the tags that the pixels need, and no more memory than the image is worth."""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import dataclass

from clipstyler.imaging.containers.layout import Layout
from clipstyler.imaging.containers.scan import Scan
from clipstyler.imaging.values import ImageError

_MAX_TAGS = 4_096
_MAX_SAMPLES = 6
_MAX_VALUES = 262_144
_MAX_STRIPS = 131_072
_SMALL_TILE = 1_024

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 274, 277, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_SUBFILE, _SUB_IFDS, _EXTRA, _SAMPLE_FORMAT, _SUBSAMPLING, _DNG_VERSION = 254, 330, 338, 339, 530, 50706
_NEEDED = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIP_OFFSETS, _SAMPLES, 278, _STRIP_BYTES),
    *(_PLANAR, 292, 293, 317, 320, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES, 332, _EXTRA),
    *(_SAMPLE_FORMAT, 347, 512, 513, 514, 515, 519, 520, 521, 529, _SUBSAMPLING, 531, 532, 34675),
}
_GRAY, _YCBCR, _LAB = {0, 1}, 6, 8
_RAW_SENSOR = {32803, 34892}
_UNCOMPRESSED, _OLD_JPEG = 1, 6
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_OPAQUE_TYPES = {1, 2, 7}
_LONG8, _LONG = {16, 17, 18}, 4


@dataclass(frozen=True)
class _Directory:
    """The first directory: byte order, sizes of offsets, and the first entry of each tag."""

    data: bytes
    order: str
    big: bool
    entries: dict[int, bytes]

    @property
    def offset(self) -> str:
        """Format of an offset."""
        return "Q" if self.big else "I"

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag, or nothing if it is missing or broken."""
        kind, count, value = self.fields(tag)
        if kind not in _TYPES or kind in {2, 7}:
            return ()
        size = count * _BYTES[kind]
        if size > len(value):
            (at,) = struct.unpack(self.order + self.offset, value)
            value = self.data[at : at + size]
        return struct.unpack(f"{self.order}{count}{_TYPES[kind]}", value[:size]) if size <= len(value) else ()

    def number(self, tag: int, default: int) -> int:
        """Return the first integer of a tag."""
        return (*self.numbers(tag), default)[0]

    def fields(self, tag: int) -> tuple[int, int, bytes]:
        """Return type, count and value field of a tag."""
        entry = self.entries.get(tag)
        if entry is None:
            return 0, 0, b""
        kind, count = struct.unpack(f"{self.order}H{self.offset}", entry[2 : 12 if self.big else 8])
        return kind, count, entry[12 if self.big else 8 :]

    def short(self, tag: int, value: int) -> bytes:
        """Make an entry that holds one 16-bit number."""
        entry = struct.pack(f"{self.order}HH{self.offset}H", tag, 3, 1, value)
        return entry.ljust(20 if self.big else 12, b"\0")

    def classic(self, entry: bytes, later: int) -> tuple[bytes, bytes]:
        """Turn an entry of a BigTIFF into a classic one; a value that does not fit goes to the offset `later`."""
        if not self.big:
            return entry, b""
        tag, kind, count = struct.unpack(self.order + "HHQ", entry[:12])
        size, value, stored = count * _BYTES.get(kind, 1), entry[12:], b""
        if kind in _LONG8:
            value = struct.pack(f"{self.order}{count}I", *(number % 2**32 for number in self.numbers(tag)))
            kind, size = _LONG, 4 * count
            value, stored = (value, b"") if size <= 4 else (struct.pack(self.order + "I", later), value)
        elif size > 8:
            value = struct.pack(self.order + "I", struct.unpack(self.order + "Q", value)[0] % 2**32)
        elif size > 4:
            value, stored = struct.pack(self.order + "I", later), value
        return struct.pack(self.order + "HHI", tag, kind, count) + value[:4].ljust(4, b"\0"), stored


def scan(data: bytes) -> Scan:
    """Keep the needed tags of the first directory, and make unusual gray formats ones that Pillow reads."""
    directory = _first_directory(data)
    if directory is None:
        return Scan(data)
    _refuse_raw(directory)
    _check_values(directory)
    _check_sides(directory)
    layout = _layout(directory)
    _check_tiles(directory)
    _check_strips(directory)
    kept = {tag: entry for tag, entry in directory.entries.items() if tag in _NEEDED}
    if layout.white_is_zero:
        kept[_PHOTOMETRIC] = directory.short(_PHOTOMETRIC, 1)
    if layout.photometric in _GRAY and layout.samples == 1 and layout.sample_format == 1 and layout.bits == 32:
        kept[_SAMPLE_FORMAT] = directory.short(_SAMPLE_FORMAT, 2)
    return Scan(_with_directory(directory, kept), layout=layout)


def _first_directory(data: bytes) -> _Directory | None:
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    start, counter, size = (8, "Q", 20) if big else (4, "H", 12)
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, start)
        (count,) = struct.unpack_from(order + counter, data, at)
    except (struct.error, OverflowError):
        return None
    if count > _MAX_TAGS:
        raise ImageError(f"the TIFF has {count} tags, more than {_MAX_TAGS}: save it again without metadata")
    at += struct.calcsize(counter)
    entries: dict[int, bytes] = {}
    for start in range(at, min(at + count * size, len(data) - size + 1), size):
        tag = int.from_bytes(data[start : start + 2], "little" if order == "<" else "big")
        entries.setdefault(tag, data[start : start + size])
    return _Directory(data, order, big, entries)


def _with_directory(directory: _Directory, entries: dict[int, bytes]) -> bytes:
    """Append a directory to the file and let the header point to it; a BigTIFF becomes a classic one."""
    order, end = directory.order, len(directory.data) + len(directory.data) % 2
    later, written = b"", b""
    for tag in sorted(entries):
        entry, stored = directory.classic(entries[tag], end + len(later))
        later, written = later + stored + b"\0" * (len(stored) % 2), written + entry
    header = directory.data[:2] + struct.pack(order + "HI", 42, end + len(later))
    body, padding = memoryview(directory.data)[len(header) :], b"\0" * (len(directory.data) % 2)
    return b"".join([header, body, padding, later, struct.pack(order + "H", len(entries)), written, bytes(4)])


def _layout(directory: _Directory) -> Layout:
    samples = directory.number(_SAMPLES, 1)
    bits = directory.numbers(_BITS) or (1,)
    if samples > _MAX_SAMPLES or len(bits) > 2 * _MAX_SAMPLES:
        raise ImageError(f"a TIFF with {max(samples, len(bits))} samples in a pixel is not supported: save it as RGB")
    photometric = directory.number(_PHOTOMETRIC, 0)
    compression = directory.number(_COMPRESSION, _UNCOMPRESSED)
    layout = Layout(
        bits=max(bits),
        sample_format=directory.number(_SAMPLE_FORMAT, 1),
        samples=samples,
        photometric=photometric,
        compression=compression,
        orientation=directory.number(_ORIENTATION, 1),
        white_is_zero=photometric == 0 and compression != _OLD_JPEG,
        swapped=compression != _UNCOMPRESSED and (directory.order == ">") == (sys.byteorder == "little"),
    )
    _refuse_misread(directory, layout)
    return layout


def _refuse_misread(directory: _Directory, layout: Layout) -> None:
    """Refuse what Pillow would read wrong."""
    uncompressed = layout.compression == _UNCOMPRESSED
    if uncompressed and layout.photometric == _YCBCR and _is_subsampled(directory):
        raise unsupported(layout, "with subsampled colors")
    planar = directory.number(_PLANAR, 1) == 2 and layout.samples > 1
    premultiplied = directory.number(_EXTRA, 0) == 1
    readable = layout.photometric not in {*_GRAY, _YCBCR, _LAB}
    if planar and not (readable and not (uncompressed and (layout.bits != 8 or premultiplied))):
        raise unsupported(layout, "with separate color planes")


def _is_subsampled(directory: _Directory) -> bool:
    declared = directory.numbers(_SUBSAMPLING)
    pixels = directory.number(_WIDTH, 0) * directory.number(_HEIGHT, 0)
    return declared != (1, 1) if declared else sum(directory.numbers(_STRIP_BYTES)) < 3 * pixels


def unsupported(layout: Layout, detail: str = "") -> ImageError:
    """Make the refusal that names a kind of TIFF."""
    name = f"{layout.description} {detail}".strip()
    return ImageError(
        f"a TIFF that is {name} is not supported: save it with 8 or 16 bits as plain gray or RGB, or as PNG"
    )


def _refuse_raw(directory: _Directory) -> None:
    thumbnail = directory.number(_SUBFILE, 0) & 1 and _SUB_IFDS in directory.entries
    sensor = directory.number(_PHOTOMETRIC, 1) in _RAW_SENSOR
    if _DNG_VERSION in directory.entries or directory.data[8:10] == b"CR" or thumbnail or sensor:
        raise ImageError("the file is a raw camera file, which is not supported: save it as JPEG or PNG")


def _check_values(directory: _Directory) -> None:
    for tag in _NEEDED & directory.entries.keys():
        kind, count, _ = directory.fields(tag)
        if kind not in _OPAQUE_TYPES and count > _MAX_VALUES:
            raise ImageError(f"the TIFF has {count} values in its tag {tag}: save it again without metadata")


def _check_sides(directory: _Directory) -> None:
    if not (directory.number(_WIDTH, 0) and directory.number(_HEIGHT, 0)):
        raise ImageError("the TIFF declares no width or no height: send a complete file")


def _check_tiles(directory: _Directory) -> None:
    for tile_tag, side_tag in ((_TILE_WIDTH, _WIDTH), (_TILE_LENGTH, _HEIGHT)):
        tile, side = directory.number(tile_tag, 0), directory.number(side_tag, 0)
        if tile > max(_SMALL_TILE, math.ceil(side / 16) * 16):
            raise ImageError(
                f"the TIFF has tiles of {tile} px for an image side of {side} px: save it again without tiles"
            )


def _check_strips(directory: _Directory) -> None:
    """Refuse strips or tiles that share their bytes: each of them would be decoded from all of these bytes."""
    for offsets_tag, bytes_tag in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        count = directory.fields(offsets_tag)[1]
        if count > _MAX_STRIPS:
            raise ImageError(f"the TIFF has {count} strips or tiles, more than {_MAX_STRIPS}: use larger ones")
        sizes = directory.numbers(bytes_tag)
        missing = not sizes and directory.number(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
        if count > 1 and (missing or sum(sizes) > 2 * len(directory.data)):
            raise ImageError("the TIFF has strips or tiles that overlap or have no sizes: save it again")
