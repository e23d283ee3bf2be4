"""Containers are scanned before Pillow sees them: what is hostile costs nothing, what is not needed is dropped."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipstyler.imaging import ImageError, Limits, decode, decode_fitted, read_header
from tests.timing import thread_seconds

IMAGES = Path(__file__).parents[1] / "images"
GRADIENT = np.stack(np.broadcast_arrays(*np.ogrid[0:200:40j, 0:200:60j], 99), axis=-1).astype(np.uint8)
FULL = 16 * 2**20 - 10_000


def file_of(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRADIENT).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(extra: bytes) -> bytes:
    data = file_of("PNG")
    return data[:33] + extra + data[33:]


def jpeg_with(extra: bytes) -> bytes:
    data = file_of("JPEG")
    return data[:2] + extra + data[2:]


def webp_with(extra: bytes) -> bytes:
    data = file_of("WEBP", exif=b"Exif\0\0")
    return b"RIFF" + struct.pack("<I", len(data) + len(extra) - 8) + data[8:] + extra


def gif_with(extra: bytes) -> bytes:
    data = file_of("GIF")
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + extra + data[start:]


def tiff_of(entries: dict[int, tuple[int, int, int]], count: int | None = None, rest: bytes = b"") -> bytes:
    """Make a little-endian TIFF: tag to type, count and value; `rest` begins where `offset_of_rest` says."""
    body = b"".join(struct.pack("<HHII", tag, *fields) for tag, fields in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, count or len(entries)) + body + bytes(4) + rest


def tiled(tile_width: int, tile_length: int, compression: int = 8) -> bytes:
    data = zlib.compress(bytes(64 * 64))
    tags = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, compression), 262: (3, 1, 1)}
    tags |= {322: (4, 1, tile_width), 323: (4, 1, tile_length), 325: (4, 1, len(data))}
    return tiff_of(tags | {324: (4, 1, 8 + 2 + 12 * 9 + 4)}, rest=data)


HOSTILE = {
    "repeated compressed profiles": lambda: png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20))) * 990),
    "empty PNG chunks": lambda: png_with(chunk(b"teSt", b"") * (FULL // 12)),
    "empty pixel chunks": lambda: png_with(chunk(b"IDAT", b"") * (FULL // 12)),
    "a large compressed text": lambda: png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(FULL)))),
    "JPEG markers": lambda: jpeg_with(b"\xff\xfe\0\2" * (FULL // 4)),
    "JPEG segments of profiles": lambda: jpeg_with(b"\xff\xe2\0\x10ICC_PROFILE\0\1\1" * (FULL // 18)),
    "JPEG fill bytes": lambda: jpeg_with(b"\xff" * FULL),
    "junk between JPEG markers": lambda: jpeg_with(b"a" * FULL),
    "stuffed zeros in a JPEG": lambda: file_of("JPEG")[:-2] + b"\xff\0" * (FULL // 2),
    "JPEG quantization tables": lambda: jpeg_with((b"\xff\xdb\xff\xc1" + (b"\0" + b"\1" * 64) * 1007) * 100),
    "scans of a JPEG": lambda: file_of("JPEG", progressive=True)[:-2] + b"\xff\xda\0\x08\1\1\0\1\5\0" * 100_000,
    "TIFF tags": lambda: tiff_of(dict.fromkeys(range(256, 50_000), (3, 1, 1))),
    "values of a TIFF tag": lambda: tiff_of(
        {256: (4, 1, 64), 257: (4, 1, 64), 273: (4, FULL // 4, 8)}, rest=bytes(FULL)
    ),
    "strips that share bytes": lambda: tiff_of(
        {256: (4, 1, 64), 257: (4, 1, 100_000), 259: (3, 1, 8), 273: (4, 9_000, 200), 279: (4, 9_000, 36_200)},
        rest=struct.pack("<I", 100_000) * 50_000,
    ),
    "a TIFF tile of 26000 px": lambda: tiled(26_000, 26_000),
    "a long TIFF tile": lambda: tiled(64, 10_000_000),
    "WebP chunks": lambda: webp_with(b"abcd\0\0\0\0" * (FULL // 8)),
    "GIF comments": lambda: gif_with(b"!\xfe\1a\0" * (FULL // 5)),
    "small GIF blocks": lambda: gif_with(b"!\xfe" + b"\1a" * (FULL // 2) + b"\0"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_no_time(name: str) -> None:
    data = HOSTILE[name]()

    def read() -> None:
        for reader in (read_header, lambda file: decode_fitted(file, 32)):
            with contextlib.suppress(ImageError):
                assert reader(data).width in {60, 64, 32}

    assert thread_seconds(read) < 0.4


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"iCCP", b"broken") * 500),
        png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * 2**20)))),
        png_with(chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", bytes(26))),
        (IMAGES / "text_chunk_3MiB.png").read_bytes(),
        jpeg_with(b"\xff\xfe\0\x04hi" * 900),
        jpeg_with(b"\xff\xed\0\x04hi" + b"\xff" * 1_000),
        file_of("JPEG") + bytes(100_000),
        webp_with(b"abcd\2\0\0\0xy" * 900),
        gif_with(b"!\xfe\2hi\0" * 900),
    ],
)
def test_what_the_pixels_do_not_need_is_skipped(data: bytes) -> None:
    assert read_header(data).width in {60, 64}
    picture = decode(data)
    assert picture.rgb.mean() > 50
    assert picture.warnings == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiled(26_000, 26_000), "tiles of 26000 px for an image side of 64 px"),
        (tiled(64, 10_000_000), "tiles of 10000000 px"),
        (tiff_of({256: (4, 1, 9), 257: (4, 1, 9), 277: (4, 1, 2**31)}), "2147483648 samples in a pixel"),
        (tiff_of({256: (4, 1, 9), 257: (4, 1, 9), 258: (3, 100, 8)}, rest=bytes(400)), "100 samples in a pixel"),
        (tiff_of({256: (4, 1, 0), 257: (4, 1, 9)}), "declares no width or no height"),
        (tiff_of({256: (4, 1, 9)}), "declares no width or no height"),
        (HOSTILE["strips that share bytes"](), "overlap"),
        (HOSTILE["TIFF tags"](), "49744 tags"),
        (png_with(chunk(b"teSt", b"") * 1_001), "more than 1000 chunks"),
        (HOSTILE["scans of a JPEG"](), "too many scans"),
    ],
)
def test_refusals_name_their_reason(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(data)


def test_tiles_of_the_usual_sizes_are_read() -> None:
    assert decode(tiled(64, 64)).rgb.shape == (64, 64, 3)
    assert read_header(tiled(512, 512)).width == 64


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_only_the_first_frame_is_touched(image_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue", "lime")]
    buffer = io.BytesIO()
    options = {"lossless": True} if image_format == "WEBP" else {}
    frames[0].save(buffer, image_format, save_all=True, append_images=frames[1:], **options)
    data = buffer.getvalue()
    assert decode(data).rgb[0, 0].tolist() == [255, 0, 0]
    if image_format in {"GIF", "WEBP"}:
        assert decode(data[:-30] + b"?" * 30).rgb[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("header", [b"VP8L\r\0\0\0/\xff\xff\xff\x0f" + bytes(9), b"VP8X\n\0\0\0\0\0\0\0" + b"\xff" * 6])
def test_a_tiny_webp_of_many_pixels_is_refused_by_its_header(header: bytes) -> None:
    data = b"RIFF" + struct.pack("<I", len(header) + 4) + b"WEBP" + header
    with pytest.raises(ImageError, match=r"px|pixels|no readable"):
        read_header(data)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_containers_are_decoded_or_refused(kind: int, damage: list[tuple[int, int]]) -> None:
    data = bytearray(_DAMAGED[kind])
    for position, value in damage:
        data[position % len(data)] = value
    try:
        header = read_header(bytes(data), Limits(max_pixels=1_000_000))
        picture = decode_fitted(bytes(data), 32, limits=Limits(max_pixels=1_000_000))
    except ImageError:
        return
    assert max(picture.width, picture.height) == min(32, max(header.width, header.height))


_DAMAGED = (
    file_of("TIFF"),
    file_of("TIFF", compression="tiff_lzw"),
    file_of("JPEG", progressive=True),
    file_of("WEBP", lossless=True, exif=b"Exif\0\0"),
    file_of("BMP"),
    file_of("AVIF", speed=10),
    (IMAGES / "twelve_bits.tif").read_bytes(),
)
