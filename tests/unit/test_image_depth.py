"""Samples are scaled by their declared depth, in every byte order, compression and photometric interpretation."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipstyler.imaging import ImageError, decode, decode_fitted

IMAGES = Path(__file__).parents[1] / "images"
RAMP = np.broadcast_to(np.linspace(0, 1, 64), (64, 64))
RAMP_8 = np.round(RAMP * 255).astype(np.uint8)
COLORS = np.stack([RAMP, RAMP.T, 1 - RAMP], axis=-1)
RAW, DEFLATE = 1, 8


def tiff(
    samples: NDArray[np.generic],
    order: str = "<",
    compression: int = RAW,
    photometric: int = 1,
    planar: bool = False,
    bits: int | None = None,
    extra: int | None = None,
    big: bool = False,
) -> bytes:
    """Make a TIFF of (height, width) or (height, width, samples); `bits` packs 1, 2, 4 or 12 bits."""
    height, width = samples.shape[:2]
    count = 1 if samples.ndim == 2 else samples.shape[2]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    planes = [samples[..., plane] for plane in range(count)] if planar else [samples]
    strips = [
        packed(plane, bits) if bits else plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes
    ]
    strips = [zlib.compress(strip) if compression == DEFLATE else strip for strip in strips]
    depth = bits or samples.dtype.itemsize * 8
    values: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (depth,) * count),
        259: ("H", (compression,)),
        262: ("H", (photometric,)),
        273: ("I", tuple(itertools.accumulate((len(strip) for strip in strips[:-1]), initial=16))),
        277: ("H", (count,)),
        278: ("I", (height,)),
        279: ("I", tuple(len(strip) for strip in strips)),
        284: ("H", (2 if planar else 1,)),
        339: ("H", (kind,) * count),
    }
    if extra is not None:
        values[338] = ("H", (extra,))
    if photometric == 6:
        values[530] = ("H", (1, 1))
    return assembled(values, b"".join(strips), order, big)


def assembled(values: dict[int, tuple[str, tuple[int, ...]]], pixels: bytes, order: str, big: bool) -> bytes:
    offset, counter, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    directory, later = b"", b""
    at = 16 + len(pixels)
    after = at + struct.calcsize(counter) + len(values) * (20 if big else 12) + struct.calcsize(offset)
    for tag, (kind, numbers) in sorted(values.items()):
        body = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(body) > room:
            body, later = struct.pack(order + offset, after + len(later)), later + body
        type_number = {"H": 3, "I": 4}[kind]
        directory += struct.pack(f"{order}HH{offset}", tag, type_number, len(numbers)) + body.ljust(room, b"\0")
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at)
    count = struct.pack(order + counter, len(values))
    return (mark + start).ljust(16, b"\0") + pixels + count + directory + struct.pack(order + offset, 0) + later


def packed(samples: NDArray[np.generic], bits: int) -> bytes:
    planes = (samples.astype(np.uint16)[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(planes.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def png(samples: NDArray[np.generic], bits: int, color_type: int, extra: bytes = b"") -> bytes:
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    body = [
        packed(rows[i : i + 1], bits) if bits < 8 else rows[i].astype(f">u{bits // 8}").tobytes() for i in range(height)
    ]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in body))
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def scaled(bits: int) -> NDArray[np.uint64]:
    return np.round(RAMP * (2**bits - 1)).astype(np.uint64)


def read_or_refused(data: bytes) -> NDArray[np.int64] | None:
    """Return the picture, or None if its kind is refused by name."""
    try:
        return decode(data).rgb.astype(int)
    except ImageError as error:
        if "is not supported: save it" not in str(error):
            raise
        return None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("twelve_bits.tif", RAMP_8),
        ("uint32.tif", RAMP_8),
        ("white_is_zero_8.tif", RAMP_8[:, ::-1]),
        ("white_is_zero_16.tif", RAMP_8[:, ::-1]),
        ("grey16_photo_for_sheet.png", RAMP_8),
    ],
)
def test_small_images_that_came_out_wrong_are_right(name: str, expected: NDArray[np.uint8]) -> None:
    rgb = decode((IMAGES / name).read_bytes()).rgb
    assert np.abs(rgb.astype(int) - expected[..., None]).max() <= 2


ENCODINGS = list(itertools.product("<>", (RAW, DEFLATE), (0, 1)))
PLANES = list(itertools.product("<>", (RAW, DEFLATE), (False, True)))


@pytest.mark.parametrize(("order", "compression", "photometric"), ENCODINGS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4"])
def test_every_gray_of_a_tiff_is_right(dtype: str, order: str, compression: int, photometric: int) -> None:
    largest = 1 if dtype[0] == "f" else np.iinfo(dtype).max
    samples = (RAMP * largest).astype(dtype)
    if dtype[0] != "f":
        samples -= samples % 2 ** (8 * samples.itemsize - 8)  # an upper byte alone: no byte order looks like another
    expected = RAMP_8 if photometric else 255 - RAMP_8
    for big in (False, True):
        rgb = read_or_refused(tiff(samples, order, compression, photometric, big=big))
        assert rgb is not None
        assert np.abs(rgb - expected[..., None]).max() <= 2


@pytest.mark.parametrize(("order", "compression", "photometric"), ENCODINGS)
@pytest.mark.parametrize("bits", [1, 2, 4, 12, 10, 14, 24])
def test_packed_grays_are_right_or_refused(bits: int, order: str, compression: int, photometric: int) -> None:
    rgb = read_or_refused(tiff(scaled(bits), order, compression, photometric, bits=bits))
    expected = np.round(scaled(bits) * 255.0 / (2**bits - 1))[..., None]
    assert rgb is not None or bits in {10, 12, 14, 24}
    if rgb is not None:
        assert np.abs(rgb - (expected if photometric else 255 - expected)).max() <= 1


@pytest.mark.parametrize(("order", "compression", "planar"), PLANES)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4", "i2"])
def test_every_color_of_a_tiff_is_right_or_refused(dtype: str, order: str, compression: int, planar: bool) -> None:
    samples = (COLORS * (1 if dtype[0] == "f" else np.iinfo(dtype).max)).astype(dtype)
    if dtype == "u2":
        samples -= samples % 256
    rgb = read_or_refused(tiff(samples, order, compression, photometric=2, planar=planar))
    assert rgb is not None or dtype not in {"u1", "u2"} or (planar and dtype != "u1")
    if rgb is not None:
        assert np.abs(rgb - COLORS * 255).max() <= 2


@pytest.mark.parametrize(("order", "compression", "planar"), PLANES)
@pytest.mark.parametrize(("dtype", "photometric", "channels"), [("u1", 1, 1), ("u2", 1, 1), ("u1", 2, 3), ("u2", 2, 3)])
@pytest.mark.parametrize("extra", [1, 2])
def test_alpha_of_a_tiff_is_right_or_refused(
    dtype: str, photometric: int, channels: int, extra: int, order: str, compression: int, planar: bool
) -> None:
    alpha = np.full((64, 64, 1), 0.5)
    colors = COLORS[..., :channels] * (alpha if extra == 1 else 1)
    samples = np.round(np.concatenate([colors, alpha], axis=-1) * np.iinfo(dtype).max).astype(dtype)
    data = tiff(samples, order, compression, photometric, planar, extra=extra)
    rgb = read_or_refused(data)
    if rgb is not None:
        expected = 255 * (0.5 * COLORS[..., :channels] + 0.5)
        assert np.abs(rgb - expected).max() <= 3
        opacity = decode(data).alpha
        assert opacity is not None
        assert np.abs(opacity.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("compression", "planar"), list(itertools.product((RAW, DEFLATE), (False, True))))
@pytest.mark.parametrize("photometric", [5, 6, 8])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_other_color_spaces_are_right_or_refused(dtype: str, photometric: int, compression: int, planar: bool) -> None:
    gray = RAMP * np.iinfo(dtype).max
    middle = np.full_like(gray, {6: (np.iinfo(dtype).max + 1) // 2, 8: 0}.get(photometric, 0))
    inks = [middle, middle, middle, np.iinfo(dtype).max - gray]
    samples = np.stack(inks if photometric == 5 else [gray, middle, middle], axis=-1).astype(dtype)
    rgb = read_or_refused(tiff(samples, "<", compression, photometric, planar))
    assert rgb is not None or dtype == "u2" or planar
    if rgb is not None:
        assert np.abs(rgb - rgb[..., :1]).max() <= 6
        assert rgb[0, 0, 0] <= 3
        assert rgb[0, -1, 0] >= 252
        if photometric != 8:
            assert np.abs(rgb[..., 0] - RAMP_8).max() <= 3


def test_floats_outside_of_0_to_1_are_single_pixels() -> None:
    samples = RAMP.astype(np.float32).copy()
    samples[0, :5] = (np.nan, np.inf, -np.inf, 1.02, -3)
    rgb = decode(tiff(samples)).rgb
    assert rgb[0, :5, 0].tolist() == [0, 255, 0, 255, 0]
    assert np.abs(rgb[1:, :, 0].astype(int) - RAMP_8[1:]).max() <= 1


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "f4"])
def test_a_dark_image_stays_dark(dtype: str) -> None:
    largest = 1 if dtype[0] == "f" else np.iinfo(dtype).max
    assert decode(tiff((RAMP * largest / 16).astype(dtype))).rgb.max() == 16


def test_a_negative_sample_is_black() -> None:
    assert decode(tiff(np.full((4, 4), -9, np.int16))).rgb.max() == 0
    assert decode(tiff(np.full((4, 4), -9, np.int8))).rgb.max() == 0


@pytest.mark.parametrize("dtype", ["f2", "f8", "u8"])
def test_depths_that_cannot_be_read_are_named(dtype: str) -> None:
    with pytest.raises(
        ImageError, match=rf"a TIFF that is {int(dtype[1]) * 8}-bit \S+ gray .* is not supported: save it"
    ):
        decode(tiff(np.zeros((4, 4), dtype)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_is_of_its_depth(bits: int) -> None:
    values = scaled(bits)
    key = int(values[0, -1])
    data = png(values, bits, 0, chunk(b"tRNS", struct.pack(">H", key)))
    picture = decode(data)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, values == key)
    assert (picture.rgb[picture.alpha == 0] == 255).all()
    assert decode_fitted(data, 16).alpha is not None


def test_the_transparent_gray_of_the_case_is_kept() -> None:
    picture = decode((IMAGES / "grey16_transparent_black.png").read_bytes())
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[0, -1] == 255


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_color_of_a_png_is_of_its_depth(bits: int) -> None:
    values = np.round(COLORS * (2**bits - 1)).astype(np.uint16)
    key = values[3, 5]
    picture = decode(png(values, bits, 2, chunk(b"tRNS", struct.pack(">3H", *key.tolist()))))
    assert picture.alpha is not None
    assert picture.alpha[3, 5] == 0
    assert (picture.alpha == 0).sum() == 1


@pytest.mark.parametrize(("bits", "color_type", "channels"), [(16, 2, 3), (16, 4, 2), (16, 6, 4), (8, 4, 2), (8, 6, 4)])
def test_every_png_with_color_or_alpha_is_right(bits: int, color_type: int, channels: int) -> None:
    planes = [RAMP, RAMP.T, 1 - RAMP][: 3 if channels > 2 else 1]
    if channels % 2 == 0:
        planes.append(np.full((64, 64), 0.5))
    samples = np.round(np.stack(planes, axis=-1) * (2**bits - 1)).astype(np.uint16)
    picture = decode(png(samples, bits, color_type))
    opacity = 0.5 if channels % 2 == 0 else 1
    colors = np.stack(planes[: 3 if channels > 2 else 1], axis=-1)
    assert np.abs(picture.rgb - 255 * (opacity * colors + 1 - opacity)).max() <= 2
    assert (picture.alpha is not None) == (opacity < 1)


def test_a_palette_with_partial_alpha_keeps_it() -> None:
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])) + chunk(b"tRNS", bytes([64, 200]))
    picture = decode(png(np.array([[0, 1]]), 8, 3, palette))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[64, 200]]


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_of_a_jpeg_is_inverted_only_if_adobe_wrote_it(adobe: bool) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(buffer, "JPEG", quality=95)
    data = buffer.getvalue()
    marker = data.index(b"\xff\xee")
    if not adobe:
        data = data[:marker] + data[marker + 16 :]
    expected = (255, 0, 0) if adobe else (0, 0, 0)
    assert np.abs(decode(data).rgb[4, 4].astype(int) - expected).max() <= 4
